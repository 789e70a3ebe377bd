//! How to test a policy, or whatever else you put in front of a node, on a real cluster within your own process.
//!
//! ```sh
//! cargo run --example test_your_policy --features testing
//! ```
//!
//! The cluster below takes only requests that an auditor has approved. The example shows that every node holds to that
//! by itself, also one that is asked by a coordinator, and that approved requests still succeed when a node is lost.

use std::error::Error;

use quorate::error::Code;
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::{Scheme, Threshold};
use quorate::policy::Policy;
use quorate::testing::Cluster;
use quorate::wire::request::{AuthorizerId, KeygenRequest, SignRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let auditor = AuthorizerId::try_from("auditor".to_owned())?;
    let key = RequestKey::generate(Algorithm::P256)?;
    let (name, public) = (auditor.clone(), key.public());
    let needs_auditor = move |policy: Policy| {
        // The auditor's key is in the list, so that this cannot fail: without it, no request would pass anyway.
        let required = [name.clone()].into();
        policy.clone().with_authorizers([(name, public)].into(), required).unwrap_or(policy)
    };

    // Ed25519 needs no pair setups, so this cluster starts within a second.
    let mut cluster = Cluster::builder("policy-test".parse()?, Threshold::new(2, 3)?)
        .policy(needs_auditor)
        .without_pairs()
        .start()
        .await?;
    let initiator = cluster.local().initiator();
    let approved = KeygenRequest::builder("treasury".parse()?)
        .key_types(&[Scheme::Ed25519])
        .approved_by(auditor.clone(), &key)
        .sign_with(initiator)?;
    let wallet = cluster.node(0)?.keygen(approved).await?.certificate;
    println!("made wallet {} with the auditor's approval", wallet.record().wallet);

    let payment = || -> Result<_, Box<dyn Error>> {
        Ok(SignRequest::builder(Scheme::Ed25519, "treasury".parse()?, "payment-1".parse()?, b"42 coins to Alice"))
    };
    let unapproved = payment()?.sign_with(initiator)?;
    let refused = cluster.client(1)?.sign(unapproved).await;
    assert_eq!(refused.as_ref().err().map(|failure| failure.code), Some(Code::MissingAuthorizerSignature));
    println!("without approval: {}", refused.err().map_or_else(String::new, |failure| failure.to_string()));

    // A client checks each signature it gets with independent code.
    let approved = payment()?.approved_by(auditor, &key).sign_with(initiator)?;
    cluster.lose(2).await?;
    cluster.until_unready(2).await?;
    let signed = cluster.client(1)?.sign(approved.clone()).await?;
    println!("with approval, one node lost: {}", hex::encode(signed.signature.to_bytes()));

    // Asked again, any node that took part gives the same signature.
    let again = cluster.client(0)?.sign(approved).await?;
    assert_eq!(again.signature, signed.signature);
    Ok(())
}
