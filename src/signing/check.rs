//! What a participant checks of a proposed signing session before it takes part: everything.

use crate::error::Code;
use crate::ids::{ClusterId, NodeId};
use crate::session::SheetContext;
use crate::wallet::{KeyRecord, WalletRecord};
use crate::wire::request::SignRequest;
use crate::wire::sheet::{Sheet, Task};

/// How far ahead a deadline may lie, in milliseconds: sessions are short, and clocks differ by less than this.
pub const MAX_DEADLINE_AHEAD_MS: u64 = 10 * 60 * 1000;

/// Checks that a sheet is current and of this cluster.
///
/// # Errors
/// The code to refuse with.
pub fn check_frame(sheet: &Sheet, cluster: &ClusterId, now_ms: u64) -> Result<(), Code> {
    if sheet.cluster != *cluster {
        return Err(Code::MsgValidation);
    }
    if sheet.deadline_ms <= now_ms {
        return Err(Code::SessionStale);
    }
    if sheet.deadline_ms > now_ms.saturating_add(MAX_DEADLINE_AHEAD_MS) {
        return Err(Code::MsgValidation);
    }
    Ok(())
}

/// Checks that a sheet asks for exactly what the client's request asks for. The request's signatures are checked apart.
///
/// # Errors
/// The code to refuse with.
pub fn check_against_request(sheet: &SheetContext, request: &SignRequest) -> Result<(), Code> {
    let Task::Sign { wallet, scheme, request_id, path, tweak, message, .. } = &sheet.sheet.task else {
        return Err(Code::MsgValidation);
    };
    let same = wallet == request.wallet()
        && *scheme == request.scheme()
        && request_id == request.request_id()
        && *path == request.path()
        && *tweak == request.tweak()
        && message == request.message();
    if same { Ok(()) } else { Err(Code::ProtocolViolation) }
}

/// Checks that a sheet's key, generation, threshold and participants are those of this node's own record of the wallet,
/// and returns the key.
///
/// # Errors
/// The code to refuse with.
pub fn check_against_record<'a>(sheet: &Sheet, record: &'a WalletRecord, me: NodeId) -> Result<&'a KeyRecord, Code> {
    let Task::Sign { wallet, scheme, generation, threshold, .. } = &sheet.task else {
        return Err(Code::MsgValidation);
    };
    let key = record.key(*scheme).filter(|_| record.wallet == *wallet).ok_or(Code::KeyNotFound)?;
    if *generation != key.generation {
        return Err(Code::SessionStale);
    }
    let members = sheet.participants.iter().all(|participant| key.committee.contains(participant));
    if !members || *threshold != key.group.threshold() || sheet.index_of(me).is_none() {
        return Err(Code::ProtocolViolation);
    }
    Ok(key)
}
