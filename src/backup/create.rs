//! Makes one backup: decides what kind, writes it, and clears away what is too old.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use age::stream::StreamWriter;

use super::folder::{BackupFolder, Unfinished};
use super::frame::{ARCHIVE_DOMAIN, ArchiveId, Head, MAX_FILE_BYTES, MAX_GONE, RECORD_HEAD_BYTES, StateHash};
use super::manifest::{Entry, Manifest, Since, entry};
use super::names::BackupName;
use super::reader::read_file;
use super::writer::ArchiveWriter;
use super::{BackupError, Seal};
use crate::identity::NodeIdentity;
use crate::ids::NodeName;
use crate::secret::SecretBytes;
use crate::storage::{Export, Owner};

/// The most differential backups that rest on one full one.
const MAX_DIFFERENTIALS: usize = 24;
/// What a frame takes beside its payload.
const FRAME_BYTES: u64 = 5;

/// What and where a node backs up.
pub struct BackupSettings {
    /// Where to. It must be there.
    pub folder: PathBuf,
    /// Whose store it is.
    pub owner: Owner,
    /// The node's name, by which its backups are told from others'.
    pub name: NodeName,
    /// The node, which signs what it makes.
    pub signer: Arc<NodeIdentity>,
    /// Finds out what a backup is encrypted with, each time one is made: a passphrase is not kept in between.
    pub seal: Box<dyn Fn() -> Result<Seal, BackupError> + Send + Sync>,
    /// How many full backups are kept, at least one, each with what rests on it.
    pub keep: usize,
    /// Files that come along: the node's identity.
    pub files: Vec<PathBuf>,
}

/// Which backup is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A differential one, as long as it is much smaller than a full one.
    Smaller,
    /// A full one.
    Full,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a full one.
    pub is_full: bool,
    /// When, in milliseconds since the Unix epoch.
    pub made_ms: u64,
    /// The records in it.
    pub records: u64,
    /// How long the file is.
    pub bytes: u64,
    /// Old backups that went.
    pub removed: Vec<PathBuf>,
    /// What went wrong after it was in its place: it is good all the same.
    pub warning: Option<String>,
}

/// What a look over the store found.
struct Survey {
    state: StateHash,
    entries: Vec<Entry>,
    /// What a full backup would take, and a differential one, in bytes; about.
    full_bytes: u64,
    differential_bytes: u64,
    /// Which records of the base were seen.
    seen: Vec<bool>,
}

/// A full backup that a differential one may rest on.
struct Base {
    name: BackupName,
    manifest: Manifest,
}

impl Base {
    fn holds(base: Option<&Self>, entry: &Entry) -> bool {
        base.is_some_and(|base| matches!(base.manifest.since(entry), Since::Same(_)))
    }

    /// The records that are there no more, ascending.
    fn gone<'a>(&'a self, seen: &'a [bool]) -> impl Iterator<Item = (u8, [u8; 32])> + 'a {
        let unseen = (0..self.manifest.len()).filter(|&number| !seen.get(number).copied().unwrap_or(false));
        unseen.filter_map(|number| self.manifest.name(number))
    }
}

/// A backup that is about to be made: its folder is locked, and its file begun. Nothing of the store is held for it.
pub(super) struct Begun {
    // Dropped in this order: whoever locks the folder next finds nothing unfinished.
    file: Unfinished,
    sink: StreamWriter<BufWriter<File>>,
    folder: BackupFolder,
    /// What it may rest on.
    base: Option<Base>,
    now_ms: u64,
}

/// A backup that holds all that it is to hold, and is not in its place yet. The store is not needed any more.
pub(super) struct Written {
    // Dropped in this order: whoever locks the folder next finds nothing unfinished.
    file: Unfinished,
    folder: BackupFolder,
    name: BackupName,
    /// Of a full one.
    manifest: Option<Manifest>,
    records: u64,
    bytes: u64,
}

/// Makes a backup of one moment of a store. It is in its place, durable, when this returns. `stop` ends it early: nothing
/// is left then.
///
/// # Errors
/// When the folder is missing, full, or being written to; when the store fails; when told to stop.
pub fn create(
    export: &Export<'_>,
    settings: &BackupSettings,
    wanted: Wanted,
    now_ms: u64,
    stop: &AtomicBool,
) -> Result<Made, BackupError> {
    Begun::new(settings, wanted, now_ms)?.write(export, settings, stop)?.finish(settings.keep)
}

impl Begun {
    /// Locks the folder, and looks what the backup may rest on. With a passphrase, this takes as long as its hash.
    pub(super) fn new(settings: &BackupSettings, wanted: Wanted, now_ms: u64) -> Result<Self, BackupError> {
        let folder = BackupFolder::acquire(&settings.folder, &settings.name)?;
        let seal = (settings.seal)()?;
        let listed = folder.list()?;
        let last_ms = listed.iter().map(|found| found.name.made_ms().max(found.name.full_ms)).max();
        // Names order backups also where the clock was set back.
        let now_ms = last_ms.map_or(now_ms, |last_ms| now_ms.max(last_ms.saturating_add(1)));
        let newest = listed.iter().rev().find(|found| found.is_full).map(|found| found.name);
        let resting =
            listed.iter().filter(|found| !found.is_full && Some(found.name.full_ms) == newest.map(|n| n.full_ms));
        let may_rest = wanted == Wanted::Smaller && resting.count() < MAX_DIFFERENTIALS;
        let base = newest
            .filter(|_| may_rest)
            .and_then(|name| Manifest::load(&folder.manifest_of(name)).map(|manifest| Base { name, manifest }));
        let file = folder.begin(folder.file_of(BackupName { full_ms: now_ms, differential_ms: None }))?;
        let copy = file.file().try_clone().map_err(BackupError::writing(file.path()))?;
        let sink = seal.wrap(BufWriter::new(copy), file.path())?;
        Ok(Self { file, sink, folder, base, now_ms })
    }

    /// Writes it.
    pub(super) fn write(
        self,
        export: &Export<'_>,
        settings: &BackupSettings,
        stop: &AtomicBool,
    ) -> Result<Written, BackupError> {
        // What is dropped last is named first: the lock.
        let Self { folder, mut file, sink, base, now_ms } = self;
        let survey = survey(export, base.as_ref(), stop)?;
        let base = base.filter(|base| {
            let gone = u64::try_from(base.gone(&survey.seen).count()).unwrap_or(u64::MAX);
            survey.differential_bytes.saturating_mul(2) <= base.manifest.bytes && gone <= MAX_GONE
        });
        let name = match &base {
            None => BackupName { full_ms: now_ms, differential_ms: None },
            Some(base) => BackupName { differential_ms: Some(now_ms), ..base.name },
        };
        let head = Head {
            cluster: settings.owner.cluster.clone(),
            node: settings.owner.node,
            name: settings.name.clone(),
            archive: new_id()?,
            created_ms: now_ms,
            base: base.as_ref().map(|base| base.manifest.archive),
            state: survey.state.finish().into(),
        };
        let path = folder.file_of(name);
        file.is_for(path.clone());
        let mut archive = ArchiveWriter::begin(sink, &head).map_err(BackupError::writing(&path))?;
        for file in &settings.files {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let content = SecretBytes::copy_from(&read_file(file, MAX_FILE_BYTES)?);
            archive.file(name, &content).map_err(BackupError::writing(&path))?;
        }
        for (family, key) in base.iter().flat_map(|base| base.gone(&survey.seen)) {
            archive.gone(family, &key).map_err(BackupError::writing(&path))?;
        }
        let mut records = 0_u64;
        export.each(|record| {
            stopped(stop)?;
            if !Base::holds(base.as_ref(), &entry(record.family, record.key, record.version)) {
                let value = record.open()?;
                let written = archive.record(record.family, record.version, record.key, &value);
                written.map_err(BackupError::writing(&path))?;
                records = records.saturating_add(1);
            }
            Ok::<_, BackupError>(())
        })?;
        let finish = || -> io::Result<(u64, u64)> {
            let (sink, content_bytes) = archive.end(|hash| settings.signer.sign(ARCHIVE_DOMAIN, &[hash]))?;
            let mut file = sink.finish()?;
            file.flush()?;
            Ok((content_bytes, file.get_ref().metadata()?.len()))
        };
        let (content_bytes, bytes) = finish().map_err(BackupError::writing(&path))?;
        let manifest = base.is_none().then(|| Manifest::new(head.archive, content_bytes, survey.entries));
        Ok(Written { file, folder, name, manifest, records, bytes })
    }
}

impl Written {
    /// Puts it in its place, and clears away what is too old: `keep` full ones stay.
    pub(super) fn finish(self, keep: usize) -> Result<Made, BackupError> {
        // What is dropped last is named first: the lock.
        let Self { folder, file, name, manifest, records, bytes } = self;
        folder.place(&file)?;
        // Without its manifest, as after a crash right here, the next backup is a full one.
        let noted = manifest.as_ref().map_or(Ok(()), |manifest| {
            let mut file = folder.begin(folder.manifest_of(name))?;
            let path = file.path().to_owned();
            manifest.write(file.file_mut(), &path)?;
            folder.place(&file)
        });
        let mut removed = Vec::new();
        let retained = folder.retain(keep, &mut removed);
        let warning = noted.and(retained).err().map(|error| error.to_string());
        let (path, is_full, made_ms) = (file.path().to_owned(), manifest.is_some(), name.made_ms());
        Ok(Made { path, is_full, made_ms, records, bytes, removed, warning })
    }
}

/// Looks at every record without opening it.
fn survey(export: &Export<'_>, base: Option<&Base>, stop: &AtomicBool) -> Result<Survey, BackupError> {
    let mut survey = Survey {
        state: StateHash::default(),
        entries: Vec::new(),
        full_bytes: 0,
        differential_bytes: 0,
        seen: vec![false; base.map_or(0, |base| base.manifest.len())],
    };
    export.each(|record| {
        stopped(stop)?;
        let bytes = FRAME_BYTES
            .saturating_add(RECORD_HEAD_BYTES as u64)
            .saturating_add(record.key.len() as u64)
            .saturating_add(record.value_len() as u64);
        survey.full_bytes = survey.full_bytes.saturating_add(bytes);
        survey.state.add(record.family, record.key, record.version);
        let entry = entry(record.family, record.key, record.version);
        let since = base.map_or(Since::New, |base| base.manifest.since(&entry));
        if let Since::Same(number) | Since::Changed(number) = since
            && let Some(seen) = survey.seen.get_mut(number)
        {
            *seen = true;
        }
        if !matches!(since, Since::Same(_)) {
            survey.differential_bytes = survey.differential_bytes.saturating_add(bytes);
        }
        survey.entries.push(entry);
        Ok::<_, BackupError>(())
    })?;
    Ok(survey)
}

fn stopped(stop: &AtomicBool) -> Result<(), BackupError> {
    if stop.load(Ordering::Relaxed) { Err(BackupError::Interrupted) } else { Ok(()) }
}

fn new_id() -> Result<ArchiveId, BackupError> {
    let mut id = [0; 16];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut id)
        .map_err(|_| crate::storage::StorageError::Randomness)?;
    Ok(ArchiveId(id))
}
