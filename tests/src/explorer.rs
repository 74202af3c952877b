//! Programs run, and every state judged that a power cut could leave.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use holstein_guard::planted::Bug;
use holstein_storage::Storage;
use holstein_testkit::{CrashState, DiskImage, SampleOptions, SnapshotStorage};

use crate::faulty_run::count_calls;
use crate::judge::{Found, is_dirty, judge, judge_files_reopened, judge_snapshots};
use crate::{
    Base, Config, FaultPlan, Files, Key, Moment, Presence, Program, Recorded, SecondOpinion, Start,
    Violation,
};

/// How thorough an exploration is.
#[derive(Clone, Debug)]
pub struct Depth {
    /// Which combinations of changes, and how torn.
    pub states: SampleOptions,
    /// One of so many distinct states is opened for writing, written and closed.
    pub reopen_every: u64,
    /// One of so many distinct states is judged by `qemu-img check`; 0 for none.
    pub opinion_every: u64,
    /// The rest of a program is left out after its first violation.
    pub first_only: bool,
}

impl Default for Depth {
    fn default() -> Self {
        Self {
            states: SampleOptions::default(),
            reopen_every: 16,
            opinion_every: 4096,
            first_only: true,
        }
    }
}

/// What an exploration did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Programs run.
    pub programs: u64,
    /// States that a cut could leave, equal ones between the same barriers counted once.
    pub states: u64,
    /// Distinct states judged.
    pub judged: u64,
    /// Of these also opened for writing, written and closed.
    pub reopened: u64,
    /// Of these also judged by `qemu-img check`.
    pub opinions: u64,
    /// States, or programs, that broke a promise.
    pub violations: u64,
}

impl Tally {
    /// Adds the counts of another.
    pub fn add(&mut self, other: Self) {
        self.programs += other.programs;
        self.states += other.states;
        self.judged += other.judged;
        self.reopened += other.reopened;
        self.opinions += other.opinions;
        self.violations += other.violations;
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            programs: self.programs - earlier.programs,
            states: self.states - earlier.states,
            judged: self.judged - earlier.judged,
            reopened: self.reopened - earlier.reopened,
            opinions: self.opinions - earlier.opinions,
            violations: self.violations - earlier.violations,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { programs, states, judged, reopened, opinions, violations } = self;
        write!(
            f,
            "{programs} programs, {states} states, {judged} distinct judged, {reopened} reopened, \
             {opinions} by qemu-img, {violations} violations"
        )
    }
}

/// Explores programs, one after the other.
#[derive(Debug)]
pub struct Explorer {
    depth: Depth,
    bug: Option<Bug>,
    bases: HashMap<(Config, Start), Option<Arc<Base>>>,
    /// States judged, for the start at hand: content, and what was owed.
    seen: HashSet<u128>,
    seen_for: Option<(Config, Start)>,
    opinion: Option<SecondOpinion>,
    /// What was done up to now.
    pub tally: Tally,
    /// The first violations.
    pub violations: Vec<Violation>,
}

/// How many violations are kept in full.
const KEPT: usize = 20;

impl Explorer {
    /// An explorer without a planted bug.
    #[must_use]
    pub fn new(depth: Depth) -> Self {
        let opinion = if depth.opinion_every > 0 { SecondOpinion::find() } else { None };
        Self {
            depth,
            bug: None,
            bases: HashMap::new(),
            seen: HashSet::new(),
            seen_for: None,
            opinion,
            tally: Tally::default(),
            violations: Vec::new(),
        }
    }

    /// The same with a bug planted while programs run.
    #[must_use]
    pub fn with_bug(self, bug: Option<Bug>) -> Self {
        Self { bug, ..self }
    }

    /// Runs a program and judges every state. Programs on the same start come best one after the
    /// other.
    ///
    /// # Errors
    /// If the start cannot be made.
    pub fn explore(&mut self, program: &Program) -> Result<(), String> {
        self.explore_with_fault(program, None)
    }

    /// The same with a call that fails, and a power cut at any time before or after that.
    ///
    /// # Errors
    /// If the start cannot be made.
    pub fn explore_with_fault(
        &mut self,
        program: &Program,
        fault: Option<(FaultPlan, u64)>,
    ) -> Result<(), String> {
        let Some(base) = self.base(program.config, program.start)? else { return Ok(()) };
        self.tally.programs += 1;
        let names = Names {
            program: program.to_string(),
            fault: fault.map(|(plan, call)| format!("{plan}@{call}")),
            planted: self.bug.map(|bug| format!("{bug:?}")),
        };
        let failing = fault.map(|(plan, call)| plan.at(call));
        let recorded = match Recorded::new(program, &base, self.bug, failing) {
            Ok(recorded) => recorded,
            Err(what) => {
                self.violation(&names, String::new(), what, String::new());
                return Ok(());
            }
        };
        let owed = owed_hashes(program, &names);
        let options = self.depth.states;
        let mut found = (None, Found::default());
        let counts = recorded.log.for_each_state(&options, &mut |state| {
            let mark = state.mark.and_then(|mark| usize::try_from(mark).ok()).unwrap_or(0);
            if !self.seen.insert(state.hash ^ owed[mark.min(owed.len() - 1)]) {
                return Ok(());
            }
            self.tally.judged += 1;
            if found.0 != state.mark {
                found = (state.mark, Found::default());
            }
            let judged = self.judge(&base, state, &recorded, &mut found.1);
            let Err(what) = judged else { return Ok(()) };
            self.violation(&names, state.to_string(), what, recorded.log.to_string());
            if self.depth.first_only { Err(()) } else { Ok(()) }
        });
        // The rest of a program that was left has no count; what was visited is in the judged.
        self.tally.states += counts.map_or(0, |counts| counts.states);
        Ok(())
    }

    /// The same with each call failing in turn, each in the next of the ways.
    ///
    /// # Errors
    /// If the start cannot be made, or the program fails without a fault.
    pub fn explore_every_fault(&mut self, program: &Program) -> Result<(), String> {
        let Some(base) = self.base(program.config, program.start)? else { return Ok(()) };
        let mut plans = FaultPlan::all().into_iter().cycle();
        let calls = count_calls(program, &base, &FaultPlan::all()[0].at(0))?;
        for call in 0..calls {
            self.explore_with_fault(program, plans.next().map(|plan| (plan, call)))?;
        }
        Ok(())
    }

    fn judge(
        &mut self,
        base: &Base,
        state: &CrashState,
        recorded: &Recorded,
        found: &mut Found,
    ) -> Result<(), String> {
        let moment = recorded.moment(state.mark);
        judge(&files_of(base, state), moment, found)?;
        judge_snapshots(&files_of(base, state), &state.image, moment, found)?;
        let due = |every: u64| every > 0 && self.tally.judged.is_multiple_of(every);
        if due(self.depth.reopen_every) {
            self.tally.reopened += 1;
            let own = Arc::new(state.storage());
            let files = files_of(base, state).with_own(Arc::<SnapshotStorage>::clone(&own));
            judge_files_reopened(&files, moment)?;
            judge_snapshots(&files, &own.image(), moment, found)
                .map_err(|e| format!("after a write: {e}"))?;
        }
        let due = |every: u64| every > 0 && self.tally.judged.is_multiple_of(every);
        // Which flags are allowed in the middle of a snapshot operation, qemu-img does not know.
        let plain = moment.sharing.is_none() && opens_to_the_first(moment);
        let opinion = self.opinion.as_ref().filter(|_| plain && due(self.depth.opinion_every));
        // It repairs nothing by itself.
        if let Some(opinion) = opinion
            && !is_dirty(&files_of(base, state).own, moment)?
        {
            self.tally.opinions += 1;
            opinion.judge(&files_of(base, state))?;
        }
        Ok(())
    }

    fn base(&mut self, config: Config, start: Start) -> Result<Option<Arc<Base>>, String> {
        if self.seen_for != Some((config, start)) {
            self.seen.clear();
            self.seen_for = Some((config, start));
        }
        if let Some(base) = self.bases.get(&(config, start)) {
            return Ok(base.clone());
        }
        // Few are needed again later, and some are large.
        self.bases.clear();
        let made = Base::new(config, start).map_err(|e| format!("{config}/{start}: {e}"))?;
        let base = made.map(Arc::new);
        self.bases.insert((config, start), base.clone());
        Ok(base)
    }

    fn violation(&mut self, names: &Names, state: String, what: String, log: String) {
        self.tally.violations += 1;
        if self.violations.len() < KEPT {
            let Names { program, fault, planted } = names.clone();
            let seed = self.depth.states.seed;
            self.violations.push(Violation { program, seed, fault, planted, state, what, log });
        }
    }
}

/// Whether the image opens to passphrase 0, or needs none.
fn opens_to_the_first(moment: &Moment) -> bool {
    let lost = |key: &Key| key.number == 0 && key.now != Presence::Listed;
    !moment.keys.iter().any(lost)
}

/// The files that a cut left; changes stay in copies.
fn files_of(base: &Base, state: &CrashState) -> Files {
    let copy =
        |image: &DiskImage| Arc::new(SnapshotStorage::new(image.clone())) as Arc<dyn Storage>;
    let images = std::iter::once(&state.image).chain(&state.beside);
    base.files(images.map(copy).collect())
}

/// What a run is, in words.
#[derive(Clone, Hash)]
struct Names {
    program: String,
    fault: Option<String>,
    planted: Option<String>,
}

/// For each mark a hash of all that decides what is owed there: the requests up to it.
fn owed_hashes(program: &Program, names: &Names) -> Vec<u128> {
    let mut hasher = DefaultHasher::new();
    (program.config, program.start, &names.fault, &names.planted).hash(&mut hasher);
    if names.fault.is_some() {
        // Which requests failed is not known here.
        names.program.hash(&mut hasher);
    }
    let mut all = Vec::new();
    let mut push = |hasher: &DefaultHasher| {
        let mut other = hasher.clone();
        1_u8.hash(&mut other);
        all.push(u128::from(hasher.finish()) << 64 | u128::from(other.finish()));
    };
    push(&hasher);
    for op in program.ops.iter().map(Some).chain([None]) {
        op.hash(&mut hasher);
        push(&hasher);
        "acknowledged".hash(&mut hasher);
        push(&hasher);
    }
    all
}
