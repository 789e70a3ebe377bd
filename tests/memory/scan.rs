//! The search for secrets in the memory of another process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::process::Secrets;

/// How many bytes in a row are looked for.
const PART: usize = 16;
/// Most memory holds nothing but zeros: it is passed over in pieces of this size.
const PAGE: usize = 4096;
const ZEROS: [u8; PAGE + PART - 1] = [0; PAGE + PART - 1];
/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// The copies of each secret: the addresses where they begin.
pub type Copies = BTreeMap<Vec<u8>, BTreeSet<u64>>;

/// A part of a secret, and where the secret begins if the part is found.
struct Part<'a> {
    secret: &'a [u8],
    bytes: [u8; PART],
    before: u64,
}

/// What is looked for, by its first eight bytes, behind a sieve for the first two.
struct Parts<'a> {
    by_head: HashMap<u64, Vec<Part<'a>>>,
    sieve: Box<[bool; 1 << 16]>,
}

impl<'a> Parts<'a> {
    fn new(secrets: &'a Secrets) -> Self {
        let mut parts = Self { by_head: HashMap::new(), sieve: Box::new([false; 1 << 16]) };
        for secret in secrets.keys() {
            let reversed: Vec<u8> = secret.iter().rev().copied().collect();
            for form in [secret, &reversed] {
                for (at, bytes) in form.chunks_exact(PART).enumerate() {
                    let bytes: [u8; PART] = bytes.try_into().unwrap();
                    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                    parts.sieve[usize::from(head as u16)] = true;
                    let part = Part { secret, bytes, before: (at * PART) as u64 };
                    parts.by_head.entry(head).or_default().push(part);
                }
            }
        }
        parts
    }

    fn find(&self, memory: &[u8], address: u64, copies: &mut Copies) {
        for (offset, window) in memory.windows(PART).enumerate() {
            if !self.sieve[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                continue;
            }
            let head = u64::from_le_bytes(window[..8].try_into().unwrap());
            for part in self.by_head.get(&head).into_iter().flatten().filter(|part| part.bytes == window) {
                let begins = (address + offset as u64).wrapping_sub(part.before);
                copies.entry(part.secret.to_vec()).or_default().insert(begins);
            }
        }
    }
}

/// All copies of the secrets that the process holds. Those without any are not in the map.
pub fn scan(process: u32, secrets: &Secrets) -> Copies {
    let parts = Parts::new(secrets);
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut copies = Copies::new();
    let mut buffer = vec![0; CHUNK + PART - 1];
    for mapping in mappings(process) {
        let mut at = mapping.start;
        while at < mapping.end {
            let len = buffer.len().min(usize::try_from(mapping.end - at).unwrap());
            // What has just been unmapped cannot be read, and holds nothing.
            let Ok(read) = memory.read_at(&mut buffer[..len], at) else { break };
            for page in (0..read).step_by(PAGE) {
                // Parts that begin in this page may end in the next.
                let bytes = &buffer[page..read.min(page + PAGE + PART - 1)];
                if bytes != &ZEROS[..bytes.len()] {
                    parts.find(bytes, at + page as u64, &mut copies);
                }
            }
            at += CHUNK as u64;
        }
    }
    copies
}

/// A mapping that may hold what the process has written.
struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

fn mappings(process: u32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let parse = |line: &str| {
        // Range, rights, offset, device, inode, name.
        let words: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = words[0].split_once('-').unwrap();
        let (readable, writable) = (words[1].starts_with('r'), words[1].starts_with("rw"));
        let name = words.get(5..).unwrap_or_default().join(" ");
        let of_kernel = ["[vvar]", "[vvar_vclock]", "[vsyscall]"].contains(&name.as_str());
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let holds = readable && (writable || words[4] == "0") && !of_kernel;
        holds.then(|| Mapping { start: number(start), end: number(end), name })
    };
    maps.lines().filter_map(parse).collect()
}

/// Says of addresses what lies there.
pub struct Places {
    mappings: Vec<Mapping>,
    /// The stack pointers of threads that wait, and their names.
    stacks: Vec<(u64, String)>,
}

impl Places {
    pub fn of(process: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().filter_map(Result::ok);
        let stack = |thread: fs::DirEntry| {
            let name = fs::read_to_string(thread.path().join("comm")).ok()?;
            let waits = fs::read_to_string(thread.path().join("syscall")).ok()?;
            // Number, six arguments, stack pointer, program counter; or "running".
            let pointer = waits.split_whitespace().nth(7)?.strip_prefix("0x")?.to_owned();
            Some((u64::from_str_radix(&pointer, 16).ok()?, name.trim_end().to_owned()))
        };
        Self { mappings: mappings(process), stacks: threads.filter_map(stack).collect() }
    }

    pub fn name(&self, address: u64) -> String {
        let Some(mapping) = self.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address)) else {
            return "a mapping that is gone".to_owned();
        };
        let mut stacks = self.stacks.iter().filter(|(pointer, _)| (mapping.start..mapping.end).contains(pointer));
        match stacks.next() {
            Some((pointer, thread)) if address < *pointer => {
                format!("the stack of {thread}, {} bytes below what is in use", pointer - address)
            }
            Some((pointer, thread)) => {
                format!("the stack of {thread}, {} bytes within what is in use", address - pointer)
            }
            None if mapping.name.is_empty() => {
                format!("memory without a name, {} of {} bytes", address - mapping.start, mapping.end - mapping.start)
            }
            None => mapping.name.clone(),
        }
    }
}
