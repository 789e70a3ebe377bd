//! Flaws that the project puts into its own code on purpose, to see that the simulation notices them.
//!
//! Each stands for a mistake that somebody could make at that place. Without the `testing` feature nothing can choose
//! one, and the question for it is a constant.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flaw {
    /// A link takes a record that it has taken before.
    TakesReplays = 1,
    /// A ban is kept in memory only.
    ForgetsBans,
    /// A request's content is not written down before its signature is made.
    ForgetsAdmissions,
    /// A request id that was used for another content is taken for the same request.
    IgnoresConflicts,
    /// A share of a signature leaves before the request's content is durable.
    ReleasesEarly,
    /// A session takes no note of its deadline.
    IgnoresDeadlines,
    /// A node whose share has left for a session that failed does not ask what became of it.
    AsksNobody,
    /// A client that asks for what is at work already is not remembered.
    DropsDuplicateWaiters,
    /// A wallet is certified with one signature too few.
    CertifiesWithoutAll,
    /// A pending share is set aside while members have not answered.
    SetsAsideTooEarly,
    /// A session that loses a peer does not say which.
    BlamesNobody,
    /// Signing waits for a lost peer in its handler.
    WaitsInHandler,
    /// A link that is lost stays lost.
    NeverLinksAgain,
    /// A node that has started does not ask its peers for handshakes.
    AsksForNoHandshakes,
    /// The store answers before the disk has what was written.
    SyncsNothing,
}

/// Whether the code has this flaw.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) const fn has(_: Flaw) -> bool {
    false
}

#[cfg(any(test, feature = "testing"))]
pub(crate) use chosen::has;
#[cfg(any(test, feature = "testing"))]
pub use chosen::{Sabotage, choose};

#[cfg(any(test, feature = "testing"))]
mod chosen {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Flaw;

    /// The flaw of all code in this process; zero for none.
    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// The code has a flaw as long as this is there.
    #[derive(Debug)]
    pub struct Sabotage(());

    /// Gives all code in this process a flaw. Whoever does so sees to it that nothing else runs there.
    #[must_use]
    pub fn choose(flaw: Flaw) -> Sabotage {
        CHOSEN.store(flaw as u8, Ordering::SeqCst);
        Sabotage(())
    }

    impl Drop for Sabotage {
        fn drop(&mut self) {
            CHOSEN.store(0, Ordering::SeqCst);
        }
    }

    /// Whether the code has this flaw.
    pub(crate) fn has(flaw: Flaw) -> bool {
        CHOSEN.load(Ordering::Relaxed) == flaw as u8
    }
}
