//! A network that loses, repeats, delays and reorders.

use std::time::Duration;

use futures_util::future::join_all;
use quorate::error::Code;
use quorate::transport::memory::Conditions;

use crate::stage::{ANY, builder};

const REQUESTS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn lossy_network__should_end_every_request_in_one_signature_or_one_typed_failure() {
    for seed in [1, 2] {
        let cluster = builder(2, 3)
            .without_pairs()
            .seed(seed)
            .settings(|settings| settings.signing_deadline = Duration::from_secs(2))
            .start()
            .await
            .unwrap();
        cluster.make_wallet(0, "w", &[ANY]).await.unwrap();
        cluster.network().set(Conditions {
            loss: 0.05,
            duplication: 0.05,
            reordering: 0.1,
            late_by: Duration::from_millis(30),
            min_delay: Duration::ZERO,
            max_delay: Duration::from_millis(10),
            ..Conditions::PERFECT
        });
        let requests: Vec<_> = (0..REQUESTS).map(|_| cluster.sign_request(ANY, "w").unwrap()).collect();
        let clients: Vec<_> = (0..3).map(|number| cluster.client(number).unwrap()).collect();
        let asked = requests.iter().enumerate().map(|(i, request)| clients[i % 3].start_signing(request.clone()));
        let answers: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
        let signed = answers.iter().filter(|answer| answer.is_ok()).count();
        for failure in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            let expected = [Code::SessionTimeout, Code::PeerUnavailable, Code::NotMajority];
            assert!(expected.contains(&failure.code), "seed {seed}: {failure}");
        }
        assert!(signed > REQUESTS / 3, "seed {seed}: {signed} of {REQUESTS} signed");

        cluster.network().set(Conditions::PERFECT);
        cluster.until_ready().await.unwrap();
        // Sent again, every request has its signature: the one that its client had, if it had one.
        for (i, (request, answer)) in requests.into_iter().zip(answers).enumerate() {
            let again = clients[i % 3].sign(request).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            if let Ok(first) = answer {
                assert_eq!(again.signature, first.signature, "seed {seed}");
            }
        }
    }
}
