//! Clients: each asks one node once, and notes how that ended.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use quorate::error::Failure;
use quorate::ids::Scheme;
use quorate::keygen::KeygenMsg;
use quorate::keys::DerivationPath;
use quorate::node::Addresses;
use quorate::reshare::ReshareMsg;
use quorate::signing::SigningMsg;
use quorate::supervision::CallError;
use quorate::wire::request::{KeygenRequest, ReshareRequest, SignRequest};

use super::Run;
use crate::history::{Asked, Outcome};
use crate::plan::{Ask, SHARED, SignAsk};
use crate::template::Template;

/// How long a client waits: longer than any node may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Run {
    /// Asks a node, or the next that runs.
    pub(super) fn ask(&mut self, node: usize, ask: Ask, afterwards: bool) {
        let nodes = self.nodes().len();
        let running = (0..nodes).map(|step| (node + step) % nodes).find_map(|node| {
            let addresses = self.cluster.addresses(node).ok()?.clone();
            Some((node, addresses))
        });
        // With nobody there, a client has nobody to ask.
        let Some((node, addresses)) = running else { return };
        let request = Request::of(&ask, &self.template);
        let asked = Arc::clone(&self.asked);
        let at = self.now();
        let number = {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(Asked { node, ask, at, afterwards, ended: None });
            asked.len() - 1
        };
        let began = self.began;
        self.clients.spawn(async move {
            let outcome = request.ask(&addresses).await;
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked[number].ended = Some((began.elapsed(), outcome));
        });
    }
}

/// A request as a client has signed it.
enum Request {
    Sign(SignRequest),
    Keygen(KeygenRequest),
    Reshare(ReshareRequest),
}

impl Request {
    fn of(ask: &Ask, template: &Template) -> Self {
        match ask {
            Ask::Sign(SignAsk { wallet, request, scheme, path, content }) => {
                let (wallet, request) = (wallet.parse().unwrap(), request.parse().unwrap());
                let builder = SignRequest::builder(*scheme, wallet, request, &[*content; 32]);
                let builder = builder.path(DerivationPath::try_from(path.clone()).unwrap());
                let builder = if *scheme == Scheme::Bip340 { builder.tweak(None) } else { builder };
                Self::Sign(builder.sign_with(&template.initiator).unwrap())
            }
            Ask::Keygen { wallet, schemes } => {
                let builder = KeygenRequest::builder(wallet.parse().unwrap()).key_types(schemes);
                Self::Keygen(builder.sign_with(&template.initiator).unwrap())
            }
            Ask::Reshare { session, schemes, signers } => {
                let (wallet, session) = (SHARED.parse().unwrap(), session.parse().unwrap());
                let nodes: Vec<_> = template.peers.ids().collect();
                let builder = ReshareRequest::builder(wallet, session, *signers, &nodes).key_types(schemes);
                Self::Reshare(builder.sign_with(&template.initiator).unwrap())
            }
        }
    }

    async fn ask(self, node: &Addresses) -> Outcome {
        match self {
            Self::Sign(request) => {
                let answer = node.signing.call(PATIENCE, |reply| SigningMsg::Sign { request, reply }).await;
                outcome(answer, Outcome::Signed)
            }
            Self::Keygen(request) => {
                let answer = node.keygen.call(PATIENCE, |reply| KeygenMsg::Generate { request, reply }).await;
                outcome(answer, Outcome::Generated)
            }
            Self::Reshare(request) => {
                let answer = node.reshare.call(PATIENCE, |reply| ReshareMsg::Reshare { request, reply }).await;
                outcome(answer, Outcome::Reshared)
            }
        }
    }
}

fn outcome<T>(answer: Result<Result<T, Failure>, CallError>, success: impl FnOnce(T) -> Outcome) -> Outcome {
    match answer {
        Ok(Ok(done)) => success(done),
        Ok(Err(failure)) => Outcome::Failed(failure),
        Err(CallError::Unavailable) => Outcome::Lost,
        Err(CallError::Timeout) => Outcome::Nothing,
    }
}
