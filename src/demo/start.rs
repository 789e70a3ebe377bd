//! The first step: all nodes run, are linked to each other, and each pair of them is set up for ECDSA.

use std::time::Instant;

use super::Demo;
use super::report::Node;
use super::text::Text;
use crate::ids::Scheme;
use crate::local_cluster::setup_limit;

impl Demo {
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        self.report.nodes = self.cluster.names().into_iter().map(|(id, name)| Node { name, id }).collect();
        self.report.nodes.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        self.show(Text::title)?;
        let (nodes, pairs) = (self.cluster.len(), self.report.pairs());
        let limit = setup_limit(u8::try_from(nodes).unwrap_or(u8::MAX));

        let started = Instant::now();
        let text = format!("starting {nodes} nodes");
        self.progress.during(limit, self.cluster.start_all(), || text.clone()).await??;
        self.record("start of all nodes", &[started.elapsed()]);

        let started = Instant::now();
        let linked = self.cluster.until(|view| view.peers.values().all(|peer| peer.linked));
        self.progress.during(limit, linked, || format!("links up: {} of {pairs}", self.links_up())).await??;
        self.record(format!("links up ({pairs})"), &[started.elapsed()]);

        let started = Instant::now();
        let complete = self.cluster.until_complete();
        self.progress.during(limit, complete, || self.pairs_text()).await??;
        self.record(format!("pair setups ({pairs}, together)"), &[started.elapsed()]);
        self.show(Text::cluster)
    }

    fn links_up(&self) -> usize {
        let up =
            |node: &crate::node::NodeHandle| node.views().borrow().peers.values().filter(|peer| peer.linked).count();
        self.cluster.running().map(up).sum::<usize>() / 2
    }

    /// How many pairs are set up, as both their nodes see it.
    pub(super) fn pairs_text(&self) -> String {
        let held = |node: &crate::node::NodeHandle| {
            let views = node.views();
            let view = views.borrow();
            view.peers.keys().filter(|&&peer| view.can_run(Scheme::Ecdsa, view.me, peer)).count()
        };
        let done = self.cluster.running().map(held).sum::<usize>() / 2;
        format!("pairs set up: {done} of {}", self.report.pairs())
    }
}
