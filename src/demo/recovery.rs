//! The fifth step: the killed node is started again on what its folder holds, and signs.

use std::time::Instant;

use anyhow::{anyhow, ensure};

use super::Demo;
use super::report::{Recovery, milliseconds};
use super::text::Text;
use crate::wallet::WalletRecord;

impl Demo {
    pub(super) async fn recover(&mut self, wallet: &WalletRecord, killed: usize) -> anyhow::Result<()> {
        let started = Instant::now();
        self.cluster.start(killed).await?;
        self.until_complete_again().await?;
        let ready = started.elapsed();
        self.record("recovery (start to all ready)", &[ready]);

        let found = self.node(killed)?.wallet(self.wallet.clone()).await.map_err(|failure| self.described(&failure))?;
        let found = found.ok_or_else(|| anyhow!("the node has lost the wallet"))?;
        ensure!(found.record() == wallet, "the node has another wallet of that name");
        // Whoever leads a session takes part in it.
        let signed = self.sign_with_each(wallet, &[killed]).await?;
        self.report.recovery = Some(Recovery { node: self.name(killed)?, ready_ms: milliseconds(ready), signed });
        self.show(Text::recovery)
    }
}
