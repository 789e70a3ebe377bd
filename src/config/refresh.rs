//! The schedule of refreshes, checked.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::ConfigError;
use super::settings::{ClassSettings, RefreshSettings};
use super::validate::within;
use crate::policy::{RefreshSchedule, WalletClass, WalletPattern};

/// The longest period: ten years.
const EVERY_HOURS: RangeInclusive<u32> = 0..=87_600;
/// The most classes.
const MAX_CLASSES: usize = 64;
/// The most patterns of a class.
const MAX_PATTERNS: usize = 64;

/// Checks the section `refresh`.
///
/// # Errors
/// The first key whose value breaks its rules, or a class that no wallet can be in.
pub(super) fn check_refresh(settings: &RefreshSettings) -> Result<RefreshSchedule, ConfigError> {
    if settings.classes.len() > MAX_CLASSES {
        return Err(ConfigError::key("refresh.classes", "there are more than 64", "join those with the same period"));
    }
    let mut schedule = RefreshSchedule::every(period("refresh.every_hours", settings.every_hours)?);
    for (number, class) in settings.classes.iter().enumerate() {
        let class = check_class(number, class, &schedule)?;
        schedule = schedule.with_class(class);
    }
    Ok(schedule)
}

fn check_class(number: usize, class: &ClassSettings, before: &RefreshSchedule) -> Result<WalletClass, ConfigError> {
    let wallets = format!("refresh.classes.{number}.wallets");
    let count = class.wallets.len();
    if count == 0 || count > MAX_PATTERNS {
        let fix = "list 1 to 64 wallet ids, or beginnings of ids with * after them";
        return Err(ConfigError::key(wallets, "it lists none, or more than 64", fix));
    }
    let mut patterns = Vec::with_capacity(count);
    for text in &class.wallets {
        let pattern = WalletPattern::parse(text).map_err(|invalid| {
            ConfigError::key(wallets.as_str(), invalid.to_string(), "write a wallet id, or a beginning of ids and a *")
        })?;
        if before.classes().iter().any(|class| class.covers(&pattern)) {
            let fix = "put the narrower class first: the first one that a wallet is in counts";
            return Err(ConfigError::key(wallets, "classes before it leave no wallet to one of its patterns", fix));
        }
        patterns.push(pattern);
    }
    let every = period(&format!("refresh.classes.{number}.every_hours"), class.every_hours)?;
    Ok(WalletClass::new(patterns, every))
}

fn period(key: &str, hours: u32) -> Result<Option<Duration>, ConfigError> {
    Ok(match within(key, hours, EVERY_HOURS)? {
        0 => None,
        hours => Some(Duration::from_secs(u64::from(hours) * 3_600)),
    })
}
