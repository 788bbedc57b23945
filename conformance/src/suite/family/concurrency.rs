//! Many at once: runtimes start the containers of a node in parallel (spec section 3, "Lifecycle
//! and ordering").

use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Request, Run, Spawned, Versions, decode,
    fault::{Answer, Call, Real},
    require,
};
use cni_types::{AddResult, Cidr, Command};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs, io,
    time::{Duration, Instant},
};

const AT_ONCE: Clause = Clause::new(
    "3 Lifecycle & Ordering",
    "a plugin can be run at the same time for different containers, and locks what they share",
);

/// The number of containers.
const MANY: usize = 16;

const CASES: &[Case] = &[ADD_AND_DEL, ADD_DURING_DEL, SAME_DEL];

const ADD_AND_DEL: Case = Case::must(
    "concurrency/add-and-del",
    "many ADDs at once succeed, no address is given out twice, and as many DELs at once leave \
     nothing",
    AT_ONCE,
)
.versions(Versions::NEWEST)
.faults(&[
    Fault::new("refuses an ADD while it is busy", |real, call| {
        if !call.is(Command::Add) {
            return real.run(&call);
        }
        while_alone(
            &call,
            || real.run(&call),
            || Ok(Answer::error(11, "try again later")),
        )
    }),
    Fault::new("gives one address to two that ask at once", |real, call| {
        if !call.is(Command::Add) {
            return real.run(&call);
        }
        let same = |result: &mut Value| {
            if let Some(address) = result.pointer_mut("/ips/0/address") {
                *address = json!("10.77.0.99/24");
            }
        };
        let other = || Ok(real.run(&call)?.edited(same));
        while_alone(&call, || real.run(&call), other)
    })
    .of("host-local"),
    Fault::new("forgets a DEL while it is busy", forget_a_del),
])
.body(|context| {
    let each_its_own = gives_each_its_own(context)?;
    let attachments = attachments(context, "c")?;
    let before = context.state()?;
    let added = run_at_once(context, &requests(&attachments, Command::Add))?;
    require_success(&added, "ADD")?;
    if each_its_own {
        require_different_addresses(&added)?;
    }
    remove_all(context, &attachments, &added)?;
    context.require_unchanged(&before, "the ADDs and DELs")
});

const ADD_DURING_DEL: Case = Case::must(
    "concurrency/add-during-del",
    "ADDs while others are deleted: all succeed, no two that live share an address, nothing is \
     left",
    AT_ONCE,
)
.versions(Versions::NEWEST)
.faults(&[
    Fault::new("refuses an ADD while it deletes", |real, call| {
        while_alone(
            &call,
            || real.run(&call),
            || {
                let is_add = call.is(Command::Add);
                if is_add {
                    Ok(Answer::error(11, "try again later"))
                } else {
                    real.run(&call)
                }
            },
        )
    }),
    Fault::new("forgets a DEL while it is busy", forget_a_del),
])
.body(|context| {
    let each_its_own = gives_each_its_own(context)?;
    let old = attachments(context, "old")?;
    let new = attachments(context, "new")?;
    let before = context.state()?;
    let mut added = Vec::new();
    for attachment in &old {
        let run = attachment.request(Command::Add).run()?;
        run.succeeded()?;
        added.push(run);
    }
    let dels = deletions(context, &old, &added)?;
    let adds = requests(&new, Command::Add);
    let mixed: Vec<Request<'_>> = dels
        .into_iter()
        .zip(adds)
        .flat_map(|(del, add)| [del, add])
        .collect();
    let runs = run_at_once(context, &mixed)?;
    require_success(&runs, "ADD or DEL")?;
    let added: Vec<Run> = runs.into_iter().skip(1).step_by(2).collect();
    if each_its_own {
        require_different_addresses(&added)?;
    }
    remove_all(context, &new, &added)?;
    context.require_unchanged(&before, "the ADDs and DELs")
});

const SAME_DEL: Case = Case::may(
    "concurrency/same-del",
    "the same DEL several times at once: all succeed, and nothing is left",
    Clause::silent(
        "runtimes run nothing in parallel for one container; after a timeout or a restart some \
         do",
    ),
)
.versions(Versions::NEWEST)
.faults(&[Fault::new(
    "refuses a DEL while it is busy",
    |real, call| {
        if !call.is(Command::Del) {
            return real.run(&call);
        }
        while_alone(
            &call,
            || real.run(&call),
            || Ok(Answer::error(11, "is being deleted")),
        )
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment.add()?;
    let deleted = run_at_once(context, &vec![attachment.request(Command::Del); MANY / 2])?;
    require_success(&deleted, "DEL")?;
    context.require_unchanged(&before, "ADD and the DELs")
});

pub(super) fn cases() -> Vec<Case> {
    CASES.to_vec()
}

/// Runs `alone` if no other run of the broken plugin is at work, and `busy` otherwise.
fn while_alone(
    call: &Call,
    alone: impl FnOnce() -> io::Result<Answer>,
    busy: impl FnOnce() -> io::Result<Answer>,
) -> io::Result<Answer> {
    const MARK: &str = "/run/cni-conformance/files/one-at-a-time";
    if fs::File::create_new(MARK).is_err() {
        return busy();
    }
    let answer = alone();
    // Long enough for another one to come, however slow the machine.
    if call.is(Command::Add) || call.is(Command::Del) {
        std::thread::sleep(Duration::from_millis(30));
    }
    fs::remove_file(MARK)?;
    answer
}

fn forget_a_del(real: &Real, call: Call) -> io::Result<Answer> {
    if !call.is(Command::Del) {
        return real.run(&call);
    }
    while_alone(&call, || real.run(&call), || Ok(Answer::default()))
}

fn attachments<'c>(context: &'c Context<'c>, prefix: &str) -> Result<Vec<Attachment<'c>>, Failure> {
    (0..MANY)
        .map(|number| context.attachment(&format!("{prefix}{number}")))
        .collect()
}

/// Starts all, and then waits for all.
fn run_at_once(context: &Context<'_>, requests: &[Request<'_>]) -> Result<Vec<Run>, Failure> {
    let start = Instant::now();
    let spawned: Vec<Spawned> = requests
        .iter()
        .map(Request::spawn)
        .collect::<Result<_, _>>()?;
    let runs: Vec<Run> = spawned
        .into_iter()
        .map(Spawned::finish)
        .collect::<Result<_, _>>()?;
    requests
        .iter()
        .zip(&runs)
        .for_each(|(request, run)| request.record(run));
    context.step(format!(
        "{} runs at once took {:?}",
        runs.len(),
        start.elapsed()
    ));
    Ok(runs)
}

fn requests<'c>(attachments: &[Attachment<'c>], command: Command) -> Vec<Request<'c>> {
    attachments
        .iter()
        .map(|attachment| attachment.request(command))
        .collect()
}

/// Fails if one of the runs failed.
fn require_success(runs: &[Run], what: &str) -> Result<(), Failure> {
    let failed: Vec<String> = runs
        .iter()
        .filter(|run| !run.status.success())
        .map(Run::summary)
        .collect();
    let found = format!(
        "{} of {}, the first with {}",
        failed.len(),
        runs.len(),
        failed.first().map_or("", |s| s)
    );
    require(failed.is_empty(), format!("no {what} that fails"), found)
}

fn addresses(run: &Run) -> Result<Vec<Cidr>, Failure> {
    Ok(addresses_of(decode(&run.result()?)?))
}

fn addresses_of(result: AddResult) -> Vec<Cidr> {
    result.ips.into_iter().map(|ip| ip.address).collect()
}

/// Returns true if two containers, one after the other, get different addresses. A plugin may give
/// all the same, and the result of a chained one has addresses of others.
fn gives_each_its_own(context: &Context<'_>) -> Result<bool, Failure> {
    let pair = [context.attachment("alone1")?, context.attachment("alone2")?];
    let mut results = Vec::new();
    for attachment in &pair {
        let added = attachment.add_decoded().map_err(|_| {
            Failure::skip("a second container cannot be added with the profile's configuration")
        })?;
        results.push(addresses_of(added));
    }
    let mut different = true;
    if let [a, b] = results.as_slice() {
        different = !a.iter().any(|address| b.contains(address));
    }
    for attachment in &pair {
        attachment.del()?;
        attachment.remove_netns()?;
    }
    Ok(different)
}

fn require_different_addresses(runs: &[Run]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for run in runs {
        for address in addresses(run)? {
            let is_new = seen.insert(address.to_string());
            require(
                is_new,
                "an address of its own for each container",
                format!("two with {address}"),
            )?;
        }
    }
    Ok(())
}

/// DEL of all at once, with the results of their ADDs.
fn remove_all(
    context: &Context<'_>,
    attachments: &[Attachment<'_>],
    added: &[Run],
) -> Result<(), Failure> {
    let deleted = run_at_once(context, &deletions(context, attachments, added)?)?;
    require_success(&deleted, "DEL")
}

fn deletions<'c>(
    context: &Context<'_>,
    attachments: &[Attachment<'c>],
    added: &[Run],
) -> Result<Vec<Request<'c>>, Failure> {
    let requests = attachments.iter().zip(added).map(|(attachment, run)| {
        let request = attachment.request(Command::Del);
        Ok(if context.version().has_check() {
            request.key("prevResult", run.result()?)
        } else {
            request
        })
    });
    requests.collect()
}
