//! The actor of one link.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::counters::Counters;
use super::message::Readiness;
use super::publisher::Publisher;
use super::state::{Command, Link, Step};
use crate::ids::NodeId;
use crate::transport::broker::{Broker, PublishError};
use crate::transport::config::LinkConfig;
use crate::transport::credit::Credit;
use crate::transport::noise::LinkKeys;
use crate::transport::{DownReason, Inbound, Services};
use crate::wire::frame::Frame;
use crate::wire::message::PeerMessage;

/// What a link takes.
pub(in crate::transport) enum LinkMsg {
    /// A frame that says it is from the peer.
    Frame(Frame, Credit),
    /// A message for the peer.
    Send(PeerMessage),
    /// From now on, the node says this about itself.
    Readiness(Readiness),
    /// The broker did not take a frame.
    PublishFailed(PublishError),
    /// Time has passed.
    Wake,
    /// The link is to end, for a reason that lies outside of it.
    Fail(DownReason),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

/// What a link tells the transport.
pub(in crate::transport) enum Report {
    /// It is up.
    Up { rtt: Duration },
    /// The peer said this about itself.
    Readiness { readiness: Readiness, rtt: Duration },
}

/// What one life of a link is started with.
pub(in crate::transport) struct LinkArgs {
    pub(in crate::transport) me: NodeId,
    pub(in crate::transport) peer: NodeId,
    pub(in crate::transport) keys: Arc<LinkKeys>,
    pub(in crate::transport) config: LinkConfig,
    pub(in crate::transport) readiness: Readiness,
    pub(in crate::transport) broker: Arc<dyn Broker>,
    /// The peer's inbox.
    pub(in crate::transport) subject: String,
    pub(in crate::transport) services: Services,
    pub(in crate::transport) counters: Arc<Counters>,
    /// Takes the reports of the link with this actor id.
    pub(in crate::transport) report: Arc<dyn Fn(ActorId, Report) + Send + Sync>,
}

/// What one life of a link owns.
pub(in crate::transport) struct LinkState {
    args: LinkArgs,
    link: Link,
    publisher: Publisher,
    started: Instant,
    alarm: Option<(Duration, JoinHandle<()>)>,
}

impl Drop for LinkState {
    fn drop(&mut self) {
        self.set_alarm(None);
    }
}

/// The link to one peer.
pub(in crate::transport) struct LinkActor;

impl Actor for LinkActor {
    type Msg = LinkMsg;
    type State = LinkState;
    type Arguments = LinkArgs;

    async fn pre_start(&self, _: ActorRef<LinkMsg>, args: LinkArgs) -> Result<LinkState, ActorProcessingErr> {
        let link = Link::new(args.me, Arc::clone(&args.keys), args.config, args.readiness.clone());
        let publisher = Publisher::new(Arc::clone(&args.broker), args.subject.clone(), args.config.max_publishing);
        Ok(LinkState { args, link, publisher, started: Instant::now(), alarm: None })
    }

    async fn post_start(&self, myself: ActorRef<LinkMsg>, state: &mut LinkState) -> Result<(), ActorProcessingErr> {
        state.act(&myself, Credit::none(), Link::wake)
    }

    async fn handle(
        &self,
        myself: ActorRef<LinkMsg>,
        message: LinkMsg,
        state: &mut LinkState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LinkMsg::Frame(frame, credit) => {
                let reserved = credit.is_reserved();
                state.act(&myself, credit, |link, now| link.receive(&frame, reserved, now))
            }
            LinkMsg::Send(message) => {
                if state.link.is_up() {
                    Counters::count(&state.args.counters.sent);
                }
                state.act(&myself, Credit::none(), |link, _| link.send(&message))
            }
            LinkMsg::Readiness(readiness) => {
                state.act(&myself, Credit::none(), |link, now| link.set_readiness(readiness, now))
            }
            LinkMsg::PublishFailed(error) => {
                state.act(&myself, Credit::none(), |link, _| link.publish_failed(error).map(|()| Vec::new()))
            }
            LinkMsg::Wake => state.act(&myself, Credit::none(), Link::wake),
            LinkMsg::Fail(reason) => state.act(&myself, Credit::none(), |_, _| Err(reason)),
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            LinkMsg::InjectPanic => panic!("injected"),
        }
    }

    async fn post_stop(&self, _: ActorRef<LinkMsg>, state: &mut LinkState) -> Result<(), ActorProcessingErr> {
        state.say_goodbye();
        // The state outlives the actor, in its supervisor's queue: the keys must not.
        state.link.close();
        Ok(())
    }
}

impl LinkState {
    /// Lets the link decide, executes the decision, and sets the alarm for the next one. An error ends the actor.
    fn act(
        &mut self,
        myself: &ActorRef<LinkMsg>,
        credit: Credit,
        decide: impl FnOnce(&mut Link, Duration) -> Step,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.started.elapsed();
        let done = decide(&mut self.link, now).and_then(|commands| self.execute(myself, commands, credit));
        if let Err(reason) = done {
            if reason.is_news_to_peer() {
                self.say_goodbye();
            }
            return Err(reason.into());
        }
        let wake = self.link.next_wake(now);
        if self.alarm.as_ref().map(|(at, _)| *at) != wake {
            self.set_alarm(wake.map(|at| (at, myself.clone())));
        }
        Ok(())
    }

    fn execute(
        &mut self,
        myself: &ActorRef<LinkMsg>,
        commands: Vec<Command>,
        credit: Credit,
    ) -> Result<(), DownReason> {
        let mut credit = Some(credit);
        for command in commands {
            match command {
                Command::Publish(frame) => {
                    let actor = myself.clone();
                    // An actor that is gone needs no news of its frames.
                    let failed = move |error| drop(actor.cast(LinkMsg::PublishFailed(error)));
                    match self.publisher.publish(frame, failed).map_err(|_| DownReason::Stalled)? {
                        Ok(()) => {}
                        Err(error) => self.link.publish_failed(error)?,
                    }
                }
                Command::Deliver(message) => {
                    let inbound = Inbound { from: self.args.peer, message, credit: credit.take().unwrap_or_default() };
                    Counters::count(match self.args.services.deliver(inbound) {
                        Ok(()) => &self.args.counters.delivered,
                        Err(_) => &self.args.counters.undelivered,
                    });
                }
                Command::Up { rtt } => (self.args.report)(myself.get_id(), Report::Up { rtt }),
                Command::Readiness { readiness, rtt } => {
                    (self.args.report)(myself.get_id(), Report::Readiness { readiness, rtt });
                }
                Command::Drop(why) => {
                    tracing::debug!(peer = %self.args.peer, ?why, "message not taken");
                    self.args.counters.dropped(why);
                }
            }
        }
        Ok(())
    }

    /// Tells the peer, as far as the broker takes it. The peer that does not hear it notices by the heartbeats.
    fn say_goodbye(&mut self) {
        for frame in self.link.goodbye() {
            let _ = self.publisher.publish(frame, |_| ());
        }
    }

    fn set_alarm(&mut self, next: Option<(Duration, ActorRef<LinkMsg>)>) {
        if let Some((_, task)) = self.alarm.take() {
            task.abort();
        }
        self.alarm = next.map(|(at, actor)| {
            let due = self.started + at;
            let task = tokio::spawn(async move {
                tokio::time::sleep_until(due).await;
                // An actor that is gone needs no waking.
                let _ = actor.cast(LinkMsg::Wake);
            });
            (at, task)
        });
    }
}
