//! The request to deal keys of a wallet anew.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::json::{JsonForm, ObjectWriter, in_field, optional_list, parse_object, plain_texts, required_text};
use super::keygen::schemes;
use super::{Authorization, RequestError, ReshareRequestBuilder};
use crate::ids::{NodeId, PartyIndex, RequestId, Scheme, Threshold, WalletId};
use crate::wire::sheet::Participant;
use crate::wire::transcript::Transcript;

/// A client asks for keys of a wallet to be dealt anew, to these nodes and with this threshold. Within all limits; not yet
/// authorised.
///
/// A refresh asks for the committee that there is; and so does a repair, after which a node that lost its share has one
/// again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReshareRequest {
    bytes: Vec<u8>,
    wallet: WalletId,
    session: RequestId,
    /// As given, in the request's order: that is what is signed.
    node_ids: Vec<String>,
    key_types: KeyTypes,
    threshold: Threshold,
    committee: Vec<Participant>,
    authorization: Authorization,
}

/// Which keys: one, as mpcium's requests name it, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyTypes {
    One(Scheme),
    Several(Vec<Scheme>),
}

/// What is written and signed of a request.
pub(super) struct Asked<'a> {
    pub wallet: &'a WalletId,
    pub session: &'a RequestId,
    pub node_ids: &'a [String],
    pub key_types: &'a KeyTypes,
    pub threshold: Threshold,
}

impl ReshareRequest {
    /// Begins a request to deal the keys of `wallet` anew to `nodes`, any `signers` of whom can sign then. `session` is the
    /// client's name for the request.
    #[must_use]
    pub fn builder<'a>(
        wallet: WalletId,
        session: RequestId,
        signers: u8,
        nodes: &[NodeId],
    ) -> ReshareRequestBuilder<'a> {
        ReshareRequestBuilder::new(wallet, session, signers, nodes)
    }

    /// Parses a request.
    ///
    /// # Errors
    /// When it is too long, is no JSON object, or a field breaks its rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let fields: Fields = parse_object(bytes)?;
        let wallet =
            WalletId::try_from(required_text("wallet_id", fields.wallet_id)?).map_err(in_field("wallet_id"))?;
        let session =
            RequestId::try_from(required_text("session_id", fields.session_id)?).map_err(in_field("session_id"))?;
        let nodes = optional_list(NODE_IDS, fields.node_ids)?.unwrap_or_default();
        if nodes.len() > usize::from(Threshold::MAX_PARTIES) {
            return Err(RequestError::field(NODE_IDS, "there are more than 32"));
        }
        let node_ids: Vec<String> =
            nodes.into_iter().map(|node| required_text(NODE_IDS, Some(node))).collect::<Result<_, _>>()?;
        let committee = committee(&node_ids)?;
        let threshold = threshold(fields.new_threshold, committee.len())?;
        let key_types = match (fields.key_type, optional_list(KEY_TYPES, fields.key_types)?) {
            (Some(Value::Null) | None, Some(list)) => KeyTypes::Several(schemes(list)?),
            (key_type, None) => KeyTypes::One(required_text(KEY_TYPE, key_type)?.parse().map_err(in_field(KEY_TYPE))?),
            (Some(_), Some(_)) => return Err(RequestError::field(KEY_TYPES, "it is there besides key_type")),
        };
        let authorization =
            Authorization::from_json(wallet.to_string(), fields.signature, fields.authorizer_signatures)?;
        Ok(Self { bytes: bytes.to_vec(), wallet, session, node_ids, key_types, threshold, committee, authorization })
    }

    /// What nobody asks for and every member may do by its own schedule: the keys dealt anew to the committee and with the
    /// threshold that they have. It has no bytes and no signatures; `session` names it.
    ///
    /// # Errors
    /// When the nodes are no committee for the threshold.
    pub fn of_schedule(
        wallet: WalletId,
        session: RequestId,
        schemes: Vec<Scheme>,
        threshold: Threshold,
        nodes: &[NodeId],
    ) -> Result<Self, RequestError> {
        let node_ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let committee = committee(&node_ids)?;
        if committee.len() != usize::from(threshold.parties()) {
            return Err(RequestError::field(NODE_IDS, "they are not as many as the threshold has parties"));
        }
        let authorization = Authorization { subject: wallet.to_string(), signature: Vec::new(), approvals: Vec::new() };
        let (bytes, key_types) = (Vec::new(), KeyTypes::Several(schemes));
        Ok(Self { bytes, wallet, session, node_ids, key_types, threshold, committee, authorization })
    }

    /// The bytes that this was parsed from; none where nobody asked.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The wallet.
    #[must_use]
    pub const fn wallet(&self) -> &WalletId {
        &self.wallet
    }

    /// The client's name for the request.
    #[must_use]
    pub const fn session(&self) -> &RequestId {
        &self.session
    }

    /// The keys, ascending, at least one, none twice.
    #[must_use]
    pub fn schemes(&self) -> Vec<Scheme> {
        let mut schemes = match &self.key_types {
            KeyTypes::One(scheme) => vec![*scheme],
            KeyTypes::Several(schemes) => schemes.clone(),
        };
        schemes.sort_unstable();
        schemes
    }

    /// The new threshold.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The new committee: the nodes by rank of their ids, so that the same nodes always get the same indices.
    #[must_use]
    pub fn committee(&self) -> &[Participant] {
        &self.committee
    }

    /// The signatures, not yet verified.
    #[must_use]
    pub const fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// What the initiator signs.
    #[must_use]
    pub fn signed_bytes(&self, form: JsonForm) -> Vec<u8> {
        self.asked().write(ObjectWriter::new(form)).finish()
    }

    /// Names what is asked for: two requests with the same hash are the same request.
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        let schemes: Vec<&str> = self.schemes().into_iter().map(Scheme::as_str).collect();
        let transcript = Transcript::new("quorate/reshare-request/v1")
            .field(self.wallet.as_str().as_bytes())
            .field(self.session.as_str().as_bytes())
            .field(&[self.threshold.signers(), self.threshold.parties()])
            .field(schemes.join(",").as_bytes());
        self.committee.iter().fold(transcript, |all, member| all.field(member.node.0.as_bytes())).finish()
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            wallet: &self.wallet,
            session: &self.session,
            node_ids: &self.node_ids,
            key_types: &self.key_types,
            threshold: self.threshold,
        }
    }
}

impl Asked<'_> {
    /// The members that are signed, in the order of the contract. On the wire, t means that t + 1 sign.
    pub fn write(&self, object: ObjectWriter) -> ObjectWriter {
        let quoted: Vec<String> = self.node_ids.iter().map(|node| format!("\"{node}\"")).collect();
        let object = object
            .text("session_id", self.session.as_str())
            .raw(NODE_IDS, &format!("[{}]", quoted.join(",")))
            .raw(NEW_THRESHOLD, &(self.threshold.signers() - 1).to_string());
        let object = match self.key_types {
            KeyTypes::One(scheme) => object.text(KEY_TYPE, scheme.as_str()),
            KeyTypes::Several(schemes) => object.raw(KEY_TYPES, &plain_texts(schemes.iter().map(|s| s.as_str()))),
        };
        object.text("wallet_id", self.wallet.as_str())
    }
}

#[derive(Deserialize)]
struct Fields {
    session_id: Option<Value>,
    node_ids: Option<Value>,
    new_threshold: Option<Value>,
    key_type: Option<Value>,
    key_types: Option<Value>,
    wallet_id: Option<Value>,
    signature: Option<Value>,
    authorizer_signatures: Option<Value>,
}

fn committee(node_ids: &[String]) -> Result<Vec<Participant>, RequestError> {
    let nodes: BTreeSet<NodeId> =
        node_ids.iter().map(|text| text.parse().map_err(in_field(NODE_IDS))).collect::<Result<_, _>>()?;
    if nodes.len() != node_ids.len() {
        return Err(RequestError::field(NODE_IDS, "it lists a node twice"));
    }
    let indices = (1..=u8::MAX).filter_map(|rank| PartyIndex::try_from(rank).ok());
    Ok(nodes.into_iter().zip(indices).map(|(node, index)| Participant { node, index }).collect())
}

fn threshold(given: Option<Value>, parties: usize) -> Result<Threshold, RequestError> {
    let given = given.ok_or(RequestError::field(NEW_THRESHOLD, "it is missing"))?;
    let number = given.as_u64().ok_or(RequestError::field(NEW_THRESHOLD, "it is not a whole number"))?;
    let too_large = RequestError::field(NEW_THRESHOLD, "more signers than parties");
    let signers = number.checked_add(1).and_then(|signers| u8::try_from(signers).ok()).ok_or(too_large.clone())?;
    Threshold::new(signers, u8::try_from(parties).map_err(|_| too_large)?).map_err(in_field(NEW_THRESHOLD))
}

const NODE_IDS: &str = "node_ids";
const NEW_THRESHOLD: &str = "new_threshold";
const KEY_TYPE: &str = "key_type";
const KEY_TYPES: &str = "key_types";
