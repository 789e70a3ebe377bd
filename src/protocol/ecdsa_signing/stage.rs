//! What a signer keeps between rounds.
//!
//! All of it is wiped when dropped: the engine's kept types wipe themselves, and so does its party. What the engine takes
//! over by value is replaced where it lay, because a move leaves the bytes behind.

use std::collections::BTreeMap;
use std::mem;

use dkls23_core::protocols::Party as EngineParty;
use dkls23_core::protocols::signing::{Broadcast3to4, KeepPhase1to2, KeepPhase2to3, UniqueKeep1to2, UniqueKeep2to3};
use k256::{AffinePoint, Scalar};

use crate::protocol::dkls::{Curve, EngineIndex};

/// What is kept while the open round is waited for.
pub enum Stage {
    Created,
    /// Round 1 is open.
    Multiplying(Box<Multiplying>),
    /// Round 2 is open.
    Opening(Box<Opening>),
    /// Round 3 is open.
    Combining(Box<Combining>),
    Over,
}

/// The engine's party stays in one place from the start of a run to its end: a move would leave a copy of its secrets.
pub struct Multiplying {
    pub party: Box<EngineParty<Curve>>,
    pub unique: UniqueKeep1to2<Curve>,
    pub kept: BTreeMap<EngineIndex, KeepPhase1to2<Curve>>,
}

pub struct Opening {
    pub party: Box<EngineParty<Curve>>,
    pub unique: UniqueKeep2to3<Curve>,
    pub kept: BTreeMap<EngineIndex, KeepPhase2to3<Curve>>,
}

pub struct Combining {
    pub party: Box<EngineParty<Curve>>,
    /// Hex of R's x coordinate, as the engine passes it on.
    pub r: String,
    pub share: Broadcast3to4<Curve>,
}

impl Multiplying {
    /// Takes our nonce and masks out, and leaves zeros.
    pub fn take_unique(&mut self) -> UniqueKeep1to2<Curve> {
        let blank = UniqueKeep1to2 {
            instance_key: Scalar::ZERO,
            instance_point: AffinePoint::IDENTITY,
            inversion_mask: Scalar::ZERO,
            zeta: Scalar::ZERO,
        };
        mem::replace(&mut self.unique, blank)
    }
}

impl Opening {
    /// Takes our nonce, masks and key share out, and leaves zeros.
    pub fn take_unique(&mut self) -> UniqueKeep2to3<Curve> {
        let blank = UniqueKeep2to3 {
            instance_key: Scalar::ZERO,
            instance_point: AffinePoint::IDENTITY,
            inversion_mask: Scalar::ZERO,
            key_share: Scalar::ZERO,
            public_share: AffinePoint::IDENTITY,
        };
        mem::replace(&mut self.unique, blank)
    }
}
