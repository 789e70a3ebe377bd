//! TLS, in both directions.

use std::path::PathBuf;

use quorate::nats::{self, ConnectError, Options, Tls};
use quorate::testing::NatsServer;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::options;

/// A certificate authority, and what it has certified, in files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The files of a new certificate and its key.
    fn certify(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}.pem"));
        std::fs::write(file("cert"), certificate.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("cert"), file("key"))
    }

    /// A server with a certificate of this authority, which asks for one in turn if it is to `verify`.
    async fn serve(&self, verify: bool) -> NatsServer {
        let ((cert, key), ca) = (self.certify("server"), self.ca());
        let config = format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: {verify} }}");
        NatsServer::start_with(&config).await.unwrap()
    }
}

async fn connect(server: &NatsServer, tls: Option<Tls>) -> Result<nats::Connection, ConnectError> {
    nats::connect(&Options { tls, ..options(server) }).await
}

fn trusting(ca: PathBuf) -> Tls {
    Tls { ca: Some(ca), client: None, required: true }
}

#[tokio::test(flavor = "multi_thread")]
async fn server__should_be_one_that_the_authority_certifies() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = ours.serve(false).await;
    let connection = connect(&server, Some(trusting(ours.ca()))).await.unwrap();
    connection.client().flush().await.unwrap();
    for tls in [Some(trusting(other.ca())), Some(Tls { required: true, ..Tls::default() }), None] {
        // Not even one that keeps trying goes on.
        let refused = nats::connect(&Options { tls, retry: true, ..options(&server) }).await;
        let error = refused.err().unwrap();
        assert!(matches!(error, ConnectError::Tls(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client__should_show_a_certificate_where_the_server_wants_one() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = ours.serve(true).await;
    let showing = |client| Some(Tls { client, ..trusting(ours.ca()) });
    connect(&server, showing(Some(ours.certify("client")))).await.unwrap();
    for client in [None, Some(other.certify("client"))] {
        let error = connect(&server, showing(client)).await.err().unwrap();
        assert!(matches!(error, ConnectError::Tls(_)), "{error}");
    }
    let missing = Some((PathBuf::from("no.pem"), PathBuf::from("no.pem")));
    assert!(matches!(connect(&server, showing(missing)).await, Err(ConnectError::Tls(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_tls__should_be_refused_where_tls_is_required() {
    let server = NatsServer::start().await.unwrap();
    assert!(connect(&server, Some(trusting(Authority::new().ca()))).await.is_err());
    let optional = Tls { required: false, ..trusting(Authority::new().ca()) };
    connect(&server, Some(optional)).await.unwrap();
}
