//! How RocksDB is set up: little memory, nothing lost, nothing mapped.
//!
//! A node stores thousands of records, not millions, and several nodes may share a process. So every buffer is small;
//! what the database promises about durability is turned up instead.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options,
    WriteOptions,
};

use super::Durability;

/// Recently read blocks of all families together, in bytes.
const BLOCK_CACHE_BYTES: usize = 4 << 20;
/// Recent writes of one family before they go to a file, in bytes. Twice the largest value.
const WRITE_BUFFER_BYTES: usize = 2 << 20;
/// Recent writes of all families together, in bytes.
const ALL_WRITE_BUFFERS_BYTES: usize = 8 << 20;
/// The write-ahead log before its records are moved to files, in bytes: what a start reads at most.
const WRITE_AHEAD_LOG_BYTES: u64 = 16 << 20;
/// Open files at most. Each costs memory for its index too.
const OPEN_FILES: i32 = 64;
/// RocksDB's own log: this many files of this many bytes.
const LOG_FILES: usize = 2;
const LOG_BYTES: usize = 1 << 20;

/// The options of the database as a whole.
pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);

    // The end of the log may be torn by a crash: that was never acknowledged. Damage before the end, or a log that
    // is gone, is an error. The default would silently drop what follows the damage.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_allow_mmap_reads(false);
    options.set_allow_mmap_writes(false);

    options.set_db_write_buffer_size(ALL_WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(WRITE_AHEAD_LOG_BYTES);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(2);
    options.set_max_file_opening_threads(1);

    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_max_log_file_size(LOG_BYTES);
    options
}

/// The column families of these names. They share one cache.
pub(super) fn families<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<ColumnFamilyDescriptor> {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    table.set_cache_index_and_filter_blocks(true);

    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    // Sealed values do not compress.
    options.set_compression_type(DBCompressionType::None);
    names.into_iter().map(|name| ColumnFamilyDescriptor::new(name, options.clone())).collect()
}

/// The options of one write.
pub(super) fn write(durability: Durability) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(durability == Durability::Synced);
    options
}
