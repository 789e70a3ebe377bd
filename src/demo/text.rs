//! The report as people read it: sections on standard output, one after the other.

use std::io::{IsTerminal, Result, Write, stdout};

use super::report::{Addresses, Report, Signed, Timing};

/// How many characters of a long value are shown at its start and at its end.
const SHOWN: (usize, usize) = (48, 16);

/// Writes the report's sections.
pub(super) struct Text {
    /// With headings in bold and verdicts in green.
    styled: bool,
}

impl Text {
    /// For the standard output of this process: styled on a terminal, unless `NO_COLOR` is set to anything.
    pub(super) fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { styled: stdout().is_terminal() && !refused }
    }

    pub(super) fn title(&self, report: &Report) -> Result<()> {
        let out = &mut stdout().lock();
        writeln!(
            out,
            "quorate {}: {} nodes in this process, {} of them must sign ({} build)",
            report.version,
            report.nodes.len(),
            report.threshold,
            report.profile
        )
    }

    pub(super) fn cluster(&self, report: &Report) -> Result<()> {
        let out = &mut stdout().lock();
        self.heading(out, "1. The cluster")?;
        for node in &report.nodes {
            writeln!(out, "  {:<8} {}", node.name.as_str(), node.id)?;
        }
        if let Some(folder) = &report.folder {
            writeln!(out, "  Their stores stay in {folder}; the keys to them are not kept.")?;
        }
        for timing in &report.timings {
            self.good(out, &format!("{}: {}", timing.step, duration(timing.p50_ms)))?;
        }
        out.flush()
    }

    pub(super) fn wallet(&self, report: &Report) -> Result<()> {
        let Some(wallet) = &report.wallet else { return Ok(()) };
        let out = &mut stdout().lock();
        self.heading(out, &format!("2. The wallet \"{}\"", wallet.id))?;
        writeln!(out, "  Each key was made by all nodes together; no node has, or ever had, more than a share of it.")?;
        writeln!(out, "  Paths begin at the wallet's key. Children are derived from public data; nothing is stored.")?;
        for key in &wallet.keys {
            keys_of(out, key)?;
        }
        self.good(out, "certified by the signatures of all nodes")?;
        out.flush()
    }

    pub(super) fn signatures(&self, report: &Report) -> Result<()> {
        let out = &mut stdout().lock();
        self.heading(out, "3. Signed transactions")?;
        for (number, signed) in report.signatures.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            self.signed(out, signed)?;
        }
        out.flush()
    }

    fn signed(&self, out: &mut impl Write, signed: &Signed) -> Result<()> {
        writeln!(out, "  {}", signed.kind)?;
        for line in &signed.transaction {
            writeln!(out, "    | {line}")?;
        }
        let raw = format!("{} ({} bytes)", shortened(&signed.raw), signed.raw_bytes);
        for (label, value) in [
            ("key", signed.path.as_str()),
            ("address", &signed.address),
            ("led by", signed.coordinator.as_str()),
            ("signed", &shortened(&signed.message)),
            ("signature", &shortened(&signed.signature)),
            ("raw", &raw),
        ] {
            writeln!(out, "    {label:<11} {value}")?;
        }
        self.good(out, &format!("verified by {}", signed.verified))
    }

    pub(super) fn failure(&self, report: &Report) -> Result<()> {
        let Some(failure) = &report.failure else { return Ok(()) };
        let out = &mut stdout().lock();
        self.heading(out, "4. A node is killed while it signs")?;
        let (killed, coordinator) = (&failure.killed, &failure.coordinator);
        writeln!(out, "  {killed} was killed in round {} of an ECDSA session that {coordinator} led.", failure.round)?;
        if failure.tries > 1 {
            writeln!(out, "  That took {} tries: before, the signature was made sooner than the kill.", failure.tries)?;
        }
        let culprits: Vec<&str> = failure.culprits.iter().map(|name| name.as_str()).collect();
        let told = format!("its client was told {} of {}", failure.code, culprits.join(", "));
        self.good(out, &format!("{told}, {} after the kill", duration(failure.noticed_ms)))?;
        for survivor in &failure.survivors {
            let ended = match survivor.ended_as {
                Some(code) => format!("its session ended as {code}"),
                None => "it had no part in the session".to_owned(),
            };
            let left = format!("sessions left: {}, requests left: {}", survivor.sessions, survivor.requests);
            self.good(out, &format!("{}: {ended}; {left}", survivor.name))?;
        }
        writeln!(
            out,
            "  An ended session is dropped, and every secret in it is of a type that is wiped when dropped."
        )?;
        if failure.still_signing {
            self.good(out, &format!("the other nodes still sign: {}", failure.signed.join(", ")))?;
        } else {
            writeln!(
                out,
                "  Without {killed} fewer than {} nodes are left, and nothing can be signed.",
                report.threshold
            )?;
            self.good(out, "a request is refused at once with NOT_MAJORITY")?;
        }
        out.flush()
    }

    pub(super) fn recovery(&self, report: &Report) -> Result<()> {
        let Some(recovery) = &report.recovery else { return Ok(()) };
        let out = &mut stdout().lock();
        self.heading(out, "5. It comes back")?;
        let (node, took) = (&recovery.node, duration(recovery.ready_ms));
        self.good(out, &format!("{node} was started again on its folder; all nodes were ready after {took}"))?;
        self.good(out, &format!("{node} has its shares and signs with them: {}", recovery.signed.join(", ")))?;
        out.flush()
    }

    pub(super) fn timings(&self, report: &Report) -> Result<()> {
        let out = &mut stdout().lock();
        self.heading(out, &format!("Timings ({} build, all nodes on this machine)", report.profile))?;
        let width = report.timings.iter().map(|timing| timing.step.chars().count()).max().unwrap_or_default();
        writeln!(out, "  {:<width$}  {:>10}  {:>10}  {:>10}  {:>3}", "", "p50", "min", "max", "n")?;
        for Timing { step, count, p50_ms, min_ms, max_ms } in &report.timings {
            let [p50, min, max] = [p50_ms, min_ms, max_ms].map(|&ms| duration(ms));
            writeln!(out, "  {step:<width$}  {p50:>10}  {min:>10}  {max:>10}  {count:>3}")?;
        }
        writeln!(out)?;
        writeln!(out, "{}", self.in_style("1;32", "Every step was verified."))?;
        out.flush()
    }

    fn heading(&self, out: &mut impl Write, text: &str) -> Result<()> {
        writeln!(out, "\n{}", self.in_style("1", text))
    }

    /// A line about something that was checked.
    fn good(&self, out: &mut impl Write, text: &str) -> Result<()> {
        writeln!(out, "  {} {text}", self.in_style("32", "✓"))
    }

    /// In an SGR style (ECMA-48), if styles are wanted.
    fn in_style(&self, style: &str, text: &str) -> String {
        if self.styled { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn keys_of(out: &mut impl Write, key: &Addresses) -> Result<()> {
    writeln!(out, "  {}", key.path)?;
    for (label, value) in [
        ("Bitcoin P2WPKH", &key.bitcoin_p2wpkh),
        ("Bitcoin P2TR", &key.bitcoin_p2tr),
        ("Ethereum", &key.ethereum),
        ("Solana", &key.solana),
        ("xpub", &key.xpub),
        ("xpub, taproot", &key.xpub_taproot),
    ] {
        writeln!(out, "    {label:<15} {value}")?;
    }
    Ok(())
}

/// A long value without its middle. Hex and base64 have one byte per character.
fn shortened(text: &str) -> String {
    let (head, tail) = SHOWN;
    match (text.get(..head), text.len().checked_sub(tail).and_then(|at| text.get(at..))) {
        (Some(start), Some(end)) if text.len() > head + tail + 1 => format!("{start}…{end}"),
        _ => text.to_owned(),
    }
}

fn duration(milliseconds: f64) -> String {
    if milliseconds < 1_000.0 { format!("{milliseconds:.1} ms") } else { format!("{:.2} s", milliseconds / 1_000.0) }
}

/// The report as one JSON document.
pub(super) fn json(report: &Report) -> Result<()> {
    let out = &mut stdout().lock();
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values__should_lose_their_middle_only() {
        let long = format!("{}{}{}", "a".repeat(48), "b".repeat(2), "c".repeat(16));
        assert_eq!(shortened(&long), format!("{}…{}", "a".repeat(48), "c".repeat(16)));
        // A mark that stands for a single character saves nothing.
        assert_eq!(shortened(&long.replace("bb", "b")), long.replace("bb", "b"));
        assert_eq!(shortened(""), "");
    }

    #[test]
    fn durations__should_be_in_the_unit_that_suits_them() {
        assert_eq!([0.04, 999.94, 1_000.0, 61_234.0].map(duration), ["0.0 ms", "999.9 ms", "1.00 s", "61.23 s"]);
    }
}
