//! The JSON document of a 2-of-3 cluster.

use std::str::FromStr;
use std::sync::LazyLock;

use alloy_consensus::TxEip1559;
use alloy_consensus::transaction::RlpEcdsaDecodableTx;
use alloy_primitives::Address as EthereumAddress;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bitcoin::bip32::{DerivationPath, Xpub};
use bitcoin::key::Secp256k1;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Address, CompressedPublicKey, KnownHrp, Transaction};
use bitcoinconsensus::{Utxo, VERIFY_ALL_PRE_TAPROOT, VERIFY_TAPROOT};
use serde_json::Value;
use solana_message::compiled_instruction::CompiledInstruction;
use solana_message::{Address as SolanaAddress, Hash, MessageHeader};

/// One run for all tests of this process.
static REPORT: LazyLock<Value> = LazyLock::new(|| {
    let output = crate::quorate(&["demo", "--json"]);
    assert!(output.status.success(), "{}", crate::text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
});

fn str(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn signed(chain: &str) -> &'static Value {
    REPORT["signatures"].as_array().unwrap().iter().find(|signed| signed["chain"] == chain).unwrap()
}

fn keys_at(path: &str) -> &'static Value {
    REPORT["wallet"]["keys"].as_array().unwrap().iter().find(|keys| keys["path"] == path).unwrap()
}

fn example(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)).unwrap()
}

#[test]
fn ethereum_transaction__should_be_the_example_from_the_reported_address() {
    let signed = signed("ethereum");
    let raw = hex::decode(str(&signed["raw"]).trim_start_matches("0x")).unwrap();
    let transaction = TxEip1559::eip2718_decode(&mut raw.as_slice()).unwrap();
    assert_eq!(transaction.recover_signer().unwrap().to_checksum(None), str(&signed["address"]));
    assert_eq!(signed["address"], keys_at(str(&signed["path"]))["ethereum"]);
    let example = String::from_utf8(example("ethereum-transfer.eip1559.hex")).unwrap();
    let example = hex::decode(example.trim().trim_start_matches("0x")).unwrap();
    assert_eq!(*transaction.tx(), TxEip1559::rlp_decode(&mut &example[1..]).unwrap());
}

#[test]
fn bitcoin_transaction__should_spend_the_reported_address_by_consensus() {
    let signed = signed("bitcoin");
    let raw = hex::decode(str(&signed["raw"])).unwrap();
    let transaction: Transaction = bitcoin::consensus::deserialize(&raw).unwrap();
    let spent = &signed["spent_outputs"][0];
    let (value, script) = (spent["value_sat"].as_u64().unwrap(), hex::decode(str(&spent["script_pubkey"])).unwrap());
    let paid_to = Address::from_script(bitcoin::Script::from_bytes(&script), bitcoin::Network::Bitcoin).unwrap();
    assert_eq!(paid_to.to_string(), str(&signed["address"]));
    assert_eq!(signed["address"], keys_at(str(&signed["path"]))["bitcoin_p2tr"]);
    let verify = |raw: &[u8]| {
        let utxo = Utxo {
            script_pubkey: script.as_ptr(),
            script_pubkey_len: u32::try_from(script.len()).unwrap(),
            value: i64::try_from(value).unwrap(),
        };
        let flags = VERIFY_ALL_PRE_TAPROOT | VERIFY_TAPROOT;
        bitcoinconsensus::verify_with_flags(&script, value, raw, Some(&[utxo]), 0, flags)
    };
    verify(&raw).unwrap();
    let mut altered = transaction.clone();
    altered.output[0].value -= bitcoin::Amount::ONE_SAT;
    assert!(verify(&bitcoin::consensus::serialize(&altered)).is_err());
    let example: Value = serde_json::from_slice(&example("bitcoin-taproot-spend.json")).unwrap();
    let unsigned: Transaction = bitcoin::consensus::encode::deserialize_hex(str(&example["unsigned_tx"])).unwrap();
    assert_eq!(transaction.compute_txid(), unsigned.compute_txid());
}

#[test]
fn solana_transaction__should_be_the_examples_transfer_signed_by_the_reported_address() {
    let signed = signed("solana");
    let raw = STANDARD.decode(str(&signed["raw"])).unwrap();
    let example: Value = serde_json::from_slice(&example("solana-transfer.json")).unwrap();
    let example = STANDARD.decode(str(&example["message"])).unwrap();
    let address = |at: usize| SolanaAddress::from(<[u8; 32]>::try_from(&example[at..at + 32]).unwrap());
    let signer = SolanaAddress::from_str(str(&signed["address"])).unwrap();
    assert_eq!(signed["address"], keys_at(str(&signed["path"]))["solana"]);
    let message = solana_message::Message {
        header: MessageHeader {
            num_required_signatures: 1,
            num_readonly_signed_accounts: 0,
            num_readonly_unsigned_accounts: 1,
        },
        account_keys: vec![signer, address(36), address(68)],
        recent_blockhash: Hash::new_from_array(example[100..132].try_into().unwrap()),
        instructions: vec![CompiledInstruction {
            program_id_index: 2,
            accounts: vec![0, 1],
            data: [2_u32.to_le_bytes().as_slice(), &250_000_000_u64.to_le_bytes()].concat(),
        }],
    };
    assert_eq!((raw[0], &raw[65..]), (1, message.serialize().as_slice()));
    let mut transaction = solana_transaction::Transaction::new_unsigned(message);
    transaction.signatures[0] = <[u8; 64]>::try_from(&raw[1..65]).unwrap().into();
    transaction.verify().unwrap();
}

#[test]
fn children__should_be_those_of_the_wallets_extended_keys() {
    let (root, secp) = (keys_at("m"), Secp256k1::new());
    let xpub = |keys: &Value, name: &str| Xpub::from_str(str(&keys[name])).unwrap();
    for keys in REPORT["wallet"]["keys"].as_array().unwrap() {
        let path = DerivationPath::from_str(str(&keys["path"])).unwrap();
        let ecdsa = xpub(root, "xpub").derive_pub(&secp, &path).unwrap();
        let taproot = xpub(root, "xpub_taproot").derive_pub(&secp, &path).unwrap();
        assert_eq!((ecdsa, taproot), (xpub(keys, "xpub"), xpub(keys, "xpub_taproot")));
        let p2wpkh = Address::p2wpkh(&CompressedPublicKey(ecdsa.public_key), KnownHrp::Mainnet);
        let p2tr = Address::p2tr(&secp, taproot.to_x_only_pub(), None, KnownHrp::Mainnet);
        let ethereum = EthereumAddress::from_raw_public_key(&ecdsa.public_key.serialize_uncompressed()[1..]);
        assert_eq!(p2wpkh.to_string(), str(&keys["bitcoin_p2wpkh"]));
        assert_eq!(p2tr.to_string(), str(&keys["bitcoin_p2tr"]));
        assert_eq!(ethereum.to_checksum(None), str(&keys["ethereum"]));
        let public_key = PublicKey::from_str(str(&keys["public_keys"]["secp256k1"])).unwrap();
        assert_eq!(public_key, ecdsa.public_key);
    }
    assert_eq!(REPORT["wallet"]["keys"].as_array().unwrap().len(), 3);
}

#[test]
fn loss__should_be_told_with_its_culprit_and_leave_nothing_running() {
    let failure = &REPORT["failure"];
    let killed = &failure["killed"];
    assert_eq!(failure["code"], "PEER_UNAVAILABLE");
    assert_eq!(failure["culprits"], serde_json::json!([killed]));
    assert!(failure["round"].as_u64().unwrap() >= 1);
    let survivors = failure["survivors"].as_array().unwrap();
    assert_eq!(survivors.len(), 2);
    for survivor in survivors {
        assert_ne!(survivor["name"], *killed);
        assert_eq!((&survivor["sessions"], &survivor["requests"]), (&Value::from(0), &Value::from(0)));
        let led = survivor["name"] == failure["coordinator"];
        assert_eq!(
            survivor["ended_as"] == "PEER_UNAVAILABLE",
            led,
            "a quorum of two is the coordinator and the killed"
        );
    }
    // Without word from the broker that the node is gone, its heartbeats would have to be missed first.
    assert!(failure["noticed_ms"].as_f64().unwrap() < 3_500.0);
    let all = serde_json::json!(["secp256k1", "ed25519", "taproot"]);
    assert_eq!((&failure["signed"], &REPORT["recovery"]["signed"]), (&all, &all));
    assert_eq!(REPORT["recovery"]["node"], *killed);
}

#[test]
fn timings__should_be_there_for_every_step() {
    assert_eq!(REPORT["ok"], true);
    let timings = REPORT["timings"].as_array().unwrap();
    for step in ["start", "links", "pair setups", "key generation", "signature, secp256k1", "signature, ed25519"]
        .into_iter()
        .chain(["signature, taproot", "noticing", "signing without", "recovery"])
    {
        let found = timings.iter().find(|timing| str(&timing["step"]).starts_with(step));
        let timing = found.unwrap_or_else(|| panic!("no timing of {step}"));
        let [min, p50, max] = ["min_ms", "p50_ms", "max_ms"].map(|field| timing[field].as_f64().unwrap());
        assert!(0.0 < min && min <= p50 && p50 <= max, "{timing}");
    }
}
