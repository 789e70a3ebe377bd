//! Looks at all nodes again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use futures_util::future::join_all;
use quorate::ids::SheetHash;
use quorate::node::Addresses;
use quorate::pairing::PairingMsg;
use quorate::session::Aborted;
use quorate::signing::SigningMsg;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{LOOK_EVERY, Phonebook};
use crate::history::{At, Seen, Sighting};

/// What was seen.
#[derive(Default)]
pub(super) struct Observed {
    pub sessions: BTreeMap<Seen, Sighting>,
    pub aborts: Vec<(At, usize, Aborted)>,
}

/// Looks until it is told to finish.
pub(super) struct Observer {
    finish: oneshot::Sender<()>,
    looking: JoinHandle<Observed>,
}

/// Begins to look at whoever is listed.
pub(super) fn start(phonebook: &Phonebook, began: Instant) -> Observer {
    let phonebook = Arc::clone(phonebook);
    let (finish, mut finished) = oneshot::channel();
    let looking = tokio::spawn(async move {
        let mut observed = Observed::default();
        let mut aborted: Vec<u64> = Vec::new();
        while finished.try_recv().is_err() {
            let listed = phonebook.lock().unwrap_or_else(PoisonError::into_inner).clone();
            aborted.resize(listed.len(), 0);
            let looks = listed.into_iter().map(async |addresses| match addresses {
                Some(addresses) => look(&addresses).await,
                None => Look::default(),
            });
            let looks = join_all(looks).await;
            let now = began.elapsed();
            for (node, (look, aborted)) in looks.into_iter().zip(&mut aborted).enumerate() {
                observed.note(node, now, look, aborted);
            }
            sleep(LOOK_EVERY).await;
        }
        observed
    });
    Observer { finish, looking }
}

impl Observer {
    pub(super) async fn finish(self) -> Observed {
        let _ = self.finish.send(());
        self.looking.await.unwrap()
    }
}

/// What one node shows.
#[derive(Default)]
struct Look {
    sessions: Vec<(&'static str, SheetHash)>,
    aborted: u64,
    last_abort: Option<Aborted>,
}

async fn look(node: &Addresses) -> Look {
    let (signing, pairing) = tokio::join!(
        node.signing.call(LOOK_EVERY, SigningMsg::Snapshot),
        node.pairing.call(LOOK_EVERY, PairingMsg::Snapshot)
    );
    let mut look = Look::default();
    if let Ok(signing) = signing {
        look.sessions.extend(signing.sessions.into_iter().map(|session| ("signing", session)));
        (look.aborted, look.last_abort) = (signing.aborted, signing.last_abort);
    }
    if let Ok(pairing) = pairing {
        look.sessions.extend(pairing.running.into_iter().map(|session| ("pair setup", session)));
    }
    look
}

impl Observed {
    /// Notes a look at a node whose signing counted so many aborts before.
    fn note(&mut self, node: usize, now: At, look: Look, aborted: &mut u64) {
        for (kind, session) in look.sessions {
            let seen = Seen { node, kind, session };
            self.sessions.entry(seen).or_insert(Sighting { first: now, last: now }).last = now;
        }
        // A new life counts from the beginning.
        if look.aborted > 0 && look.aborted != *aborted {
            self.aborts.extend(look.last_abort.map(|aborted| (now, node, aborted)));
        }
        *aborted = look.aborted;
    }
}
