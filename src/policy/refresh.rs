//! Which wallets are refreshed unasked, and how often: by class, and classes by the wallets' ids.

use std::time::Duration;

use crate::ids::WalletId;

/// How often the shares of wallets are renewed without anybody asking for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefreshSchedule {
    default: Option<Duration>,
    classes: Vec<WalletClass>,
}

/// Wallets that are refreshed alike: what a wallet is called is all that a node knows of what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletClass {
    wallets: Vec<WalletPattern>,
    every: Option<Duration>,
}

/// The wallets of a class: one id, or all ids with one beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalletPattern {
    /// This wallet.
    One(WalletId),
    /// All wallets whose ids begin so.
    Beginning(String),
}

/// Why text is no pattern of wallet ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(pub &'static str);

impl RefreshSchedule {
    /// Every wallet is refreshed when its shares are as old as this; none is by default.
    #[must_use]
    pub const fn every(period: Option<Duration>) -> Self {
        Self { default: period, classes: Vec::new() }
    }

    /// Adds a class. The first one that a wallet is in counts.
    #[must_use]
    pub fn with_class(mut self, class: WalletClass) -> Self {
        self.classes.push(class);
        self
    }

    /// How old the shares of a wallet may become; `None`: it is never refreshed unasked.
    #[must_use]
    pub fn period_of(&self, wallet: &WalletId) -> Option<Duration> {
        let class = self.classes.iter().find(|class| class.wallets.iter().any(|pattern| pattern.matches(wallet)));
        class.map_or(self.default, |class| class.every)
    }

    /// The shortest of all periods, if there is any.
    #[must_use]
    pub fn shortest(&self) -> Option<Duration> {
        self.classes.iter().map(|class| class.every).chain([self.default]).flatten().min()
    }

    /// The classes, first match first.
    #[must_use]
    pub fn classes(&self) -> &[WalletClass] {
        &self.classes
    }
}

impl WalletClass {
    /// The wallets that one of the patterns matches, refreshed when their shares are as old as `every`; `None`: never.
    #[must_use]
    pub const fn new(wallets: Vec<WalletPattern>, every: Option<Duration>) -> Self {
        Self { wallets, every }
    }

    /// Whether every wallet of a pattern is in this class.
    #[must_use]
    pub fn covers(&self, other: &WalletPattern) -> bool {
        self.wallets.iter().any(|pattern| pattern.covers(other))
    }
}

impl WalletPattern {
    /// Reads a wallet id, or a beginning of ids and a `*` after it. `*` alone is every wallet.
    ///
    /// # Errors
    /// When no wallet can have such an id.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let id = |text: &str| text.parse::<WalletId>().map_err(|error| InvalidPattern(error.problem));
        match text.strip_suffix('*') {
            Some("") => Ok(Self::Beginning(String::new())),
            Some(beginning) => id(beginning).map(|_| Self::Beginning(beginning.to_owned())),
            None => id(text).map(Self::One),
        }
    }

    fn matches(&self, wallet: &WalletId) -> bool {
        match self {
            Self::One(one) => one == wallet,
            Self::Beginning(beginning) => wallet.as_str().starts_with(beginning),
        }
    }

    /// Whether all wallets of `other` are of this pattern.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(one), Self::One(other)) => one == other,
            (Self::One(_), Self::Beginning(_)) => false,
            (Self::Beginning(beginning), Self::One(other)) => other.as_str().starts_with(beginning),
            (Self::Beginning(beginning), Self::Beginning(other)) => other.starts_with(beginning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn class(patterns: &[&str], every: Option<Duration>) -> WalletClass {
        WalletClass::new(patterns.iter().map(|pattern| WalletPattern::parse(pattern).unwrap()).collect(), every)
    }

    #[test]
    fn wallet__should_have_the_period_of_the_first_class_that_it_is_in() {
        let schedule = RefreshSchedule::every(Some(DAY * 90))
            .with_class(class(&["hot-frozen"], None))
            .with_class(class(&["hot-*", "till"], Some(DAY)))
            .with_class(class(&["h*"], Some(DAY * 7)));
        for (wallet, expected) in [
            ("hot-1", Some(DAY)),
            ("till", Some(DAY)),
            ("till-2", Some(DAY * 90)),
            ("hot-frozen", None),
            ("hut", Some(DAY * 7)),
            ("cold", Some(DAY * 90)),
        ] {
            assert_eq!(schedule.period_of(&wallet.parse().unwrap()), expected, "{wallet}");
        }
        assert_eq!(schedule.shortest(), Some(DAY));
        assert_eq!(RefreshSchedule::default().shortest(), None);
        assert_eq!(RefreshSchedule::every(None).with_class(class(&["a"], None)).shortest(), None);
    }

    #[test]
    fn pattern__should_be_an_id_or_a_beginning_of_ids() {
        assert_eq!(WalletPattern::parse("a*"), Ok(WalletPattern::Beginning("a".to_owned())));
        assert_eq!(WalletPattern::parse("*"), Ok(WalletPattern::Beginning(String::new())));
        assert!(matches!(WalletPattern::parse("a"), Ok(WalletPattern::One(_))));
        for nonsense in ["", "a*b", "*a", "a**", "a\u{7}"] {
            assert!(WalletPattern::parse(nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn class__should_say_which_patterns_it_leaves_nothing_of() {
        let pattern = |text| WalletPattern::parse(text).unwrap();
        for (patterns, other, expected) in [
            (&["a*"][..], "ab*", true),
            (&["a*"], "ab", true),
            (&["ab*"], "a*", false),
            (&["ab"], "ab", true),
            (&["ab"], "ab*", false),
            (&["x", "*"], "a", true),
        ] {
            assert_eq!(class(patterns, None).covers(&pattern(other)), expected, "{patterns:?} and {other}");
        }
    }
}
