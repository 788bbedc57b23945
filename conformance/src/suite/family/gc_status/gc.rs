//! GC: exactly what belongs to no valid attachment of the network goes.

use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Kind, Made, Need, Request, Run, Versions,
    double::Reply,
    fault::{Answer, Call},
    require,
};
use cni_types::Command;
use serde_json::{Value, json};

const VALID: &str = "cni.dev/valid-attachments";

const STALE_GOES: Clause = Clause::new(
    "2 GC",
    "as much as possible of what belongs to attachments that are not in the list is removed",
);

pub(super) const CASES: &[Case] = &[
    GC_FREES_THE_STALE,
    GC_KEEPS_THE_VALID,
    GC_BY_INTERFACE_NAME,
    GC_EMPTY_LIST,
    GC_NULL_LIST,
    GC_MISSING_LIST,
    GC_TWICE,
    GC_OTHER_NETWORKS,
    GC_GOES_ON_AFTER_AN_ERROR,
];

const GC_FREES_THE_STALE: Case = Case::should(
    "gc_status/gc-frees-the-stale",
    "GC frees what belonged to a container that is gone, and nothing else",
    STALE_GOES,
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Gc)])
.faults(&[
    Fault::new("does nothing on GC", |real, call| {
        if call.is(Command::Gc) {
            Ok(Answer::default())
        } else {
            real.run(&call)
        }
    }),
    Fault::new("takes every attachment for stale", |real, call| {
        real.run(&with_valid(call, json!([])))
    }),
    Fault::new("keeps every reservation", |real, call| {
        if call.is(Command::Gc) {
            Ok(Answer::default())
        } else {
            real.run(&call)
        }
    })
    .of("host-local"),
])
.body(|context| {
    let lives = context.attachment("c1")?;
    lives.add()?;
    let before = context.state()?;
    let gone = context.attachment("c2")?;
    gone.add()?;
    gone.remove_netns()?;
    must_succeed(&gc(context, &[&lives]))?;
    context.require_unchanged(&before, "the ADD of the container that is gone")
});

const GC_KEEPS_THE_VALID: Case = Case::must(
    "gc_status/gc-keeps-the-valid",
    "GC changes nothing if every attachment is valid",
    Clause::new(
        "2 GC",
        "only what belongs to attachments that are not in the list may be removed",
    ),
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Gc)])
.faults(&[
    Fault::new("keeps only the first of the list", |real, call| {
        let first = call
            .config()
            .pointer("/cni.dev~1valid-attachments/0")
            .cloned();
        real.run(&with_valid(call, first.into_iter().collect()))
    }),
    Fault::new("does not read the list", |real, call| {
        real.run(&with_valid(call, json!([])))
    }),
])
.body(|context| {
    let a = context.attachment("c1")?;
    let b = context.attachment("c2")?;
    a.add()?;
    b.add()?;
    let before = context.state()?;
    must_succeed(&gc(context, &[&a, &b]))?;
    context.require_unchanged(&before, "the GC")
});

const GC_BY_INTERFACE_NAME: Case = Case::should(
    "gc_status/gc-by-interface-name",
    "of two attachments of one container, GC frees the one that is not in the list",
    STALE_GOES,
)
.versions(Versions::WITH_GC)
// The interface of another plugin lives in the container, into which GC need not look.
.kinds(&[Kind::Ipam])
.needs(&[Need::Verb(Command::Gc), Need::Makes(Made::Reservation)])
.faults(&[Fault::new("looks at the container only", |real, call| {
    let mut valid = call
        .config()
        .get(VALID)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let others: Vec<Value> = valid
        .iter()
        .map(|one| json!({"containerID": one["containerID"], "ifname": "eth9"}))
        .collect();
    valid.extend(others);
    real.run(&with_valid(call, valid.into()))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    attachment
        .request(Command::Add)
        .env("CNI_IFNAME", "eth9")
        .run()?
        .result()?;
    must_succeed(&gc(context, &[&attachment]))?;
    context.require_unchanged(&before, "the ADD of eth9")
});

const GC_EMPTY_LIST: Case = Case::should(
    "gc_status/gc-empty-list",
    "GC with an empty list frees everything of the network",
    STALE_GOES,
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Gc)])
.faults(&[Fault::new("takes an empty list for none", |real, call| {
    let is_empty = call.config().get(VALID) == Some(&json!([]));
    if is_empty {
        Ok(Answer::default())
    } else {
        real.run(&call)
    }
})])
.body(|context| everything_goes(context, json!([])));

const GC_NULL_LIST: Case = Case::may(
    "gc_status/gc-null-list",
    "GC with null as list, as Go writes an empty one, frees everything of the network",
    Clause::silent("the list is an array; nothing is said of null"),
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Gc)])
.faults(&[Fault::new("refuses null", |real, call| {
    let is_null = call.config().get(VALID) == Some(&Value::Null);
    if is_null {
        Ok(Answer::error(7, "no list"))
    } else {
        real.run(&call)
    }
})])
.body(|context| everything_goes(context, Value::Null));

const GC_MISSING_LIST: Case = Case::may(
    "gc_status/gc-missing-list",
    "GC without a list frees nothing that lives",
    Clause::silent(
        "the list is required; nothing is said of a GC without it. Old runtimes, and people, \
         send such ones",
    ),
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Gc)])
.faults(&[Fault::new(
    "takes a missing list for an empty one",
    |real, call| {
        let is_missing = call.config().get(VALID).is_none();
        real.run(&if is_missing {
            with_valid(call, json!([]))
        } else {
            call
        })
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    // It may as well be refused.
    context.request(Command::Gc).run()?;
    context.require_unchanged(&before, "the GC")
});

const GC_TWICE: Case = Case::should(
    "gc_status/gc-twice",
    "a second GC succeeds, and changes nothing",
    Clause::new("2 GC", "GC generally completes without error"),
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Gc)])
.faults(&[Fault::new(
    "misses what an earlier GC removed",
    |real, call| {
        let answer = real.run(&call)?;
        if call.is(Command::Gc)
            && std::fs::File::create_new("/run/cni-conformance/files/collected").is_err()
        {
            return Ok(Answer::error(11, "nothing to remove"));
        }
        Ok(answer)
    },
)])
.body(|context| {
    let lives = context.attachment("c1")?;
    let gone = context.attachment("c2")?;
    lives.add()?;
    gone.add()?;
    gone.remove_netns()?;
    let request = gc(context, &[&lives]);
    must_succeed(&request)?;
    let before = context.state()?;
    must_succeed(&request)?;
    context.require_unchanged(&before, "the second GC")
});

const GC_OTHER_NETWORKS: Case = Case::must(
    "gc_status/gc-other-networks",
    "GC of one network does not touch another one",
    Clause::new("2 GC", "the list is the set of attachments to one network"),
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Gc)])
.faults(&[Fault::new("goes through all networks", |real, call| {
    if call.is(Command::Gc) {
        let other = call.clone().edited(|config| config["name"] = json!(OTHER));
        real.run(&other)?;
    }
    real.run(&call)
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment
        .request(Command::Add)
        .key("name", OTHER)
        .run()?
        .result()?;
    let before = context.state()?;
    must_succeed(&gc(context, &[]))?;
    context.require_unchanged(&before, "the GC")
});

const GC_GOES_ON_AFTER_AN_ERROR: Case = Case::should(
    "gc_status/gc-goes-on-after-an-error",
    "if its IPAM plugin fails at GC, the plugin cleans up its own things, and reports the \
     error",
    Clause::new(
        "2 GC",
        "after an error the plugin goes on, removes what it can, and reports the \
         errors",
    ),
)
.versions(Versions::WITH_GC)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Gc), Need::Ipam, Need::Double])
.faults(&[
    Fault::new("stops at the first error", |real, call| {
        if call.is(Command::Gc) {
            Ok(Answer::error(11, "IPAM failed"))
        } else {
            real.run(&call)
        }
    }),
    Fault::new("keeps the error for itself", |real, call| {
        let answer = real.run(&call)?;
        Ok(if call.is(Command::Gc) {
            Answer::default()
        } else {
            answer
        })
    }),
])
.body(|context| {
    let result = json!({
        "cniVersion": context.version().as_str(),
        "ips": [{"address": "10.77.0.9/24", "gateway": "10.77.0.1"}],
    });
    let replies = [
        (Command::Add, Reply::success(result)),
        (Command::Gc, Reply::error(11, "no way to clean up")),
    ];
    let ipam = context.double("gc-ipam", &replies)?;
    let path = format!(
        "{}:{}",
        ipam.folder().display(),
        context.bin_dir().display()
    );
    let with_double = |request: Request<'_>| {
        request
            .env("CNI_PATH", &path)
            .key("ipam", json!({"type": ipam.name()}))
            .run()
    };
    let before = context.state()?;
    let attachment = context.attachment("c1")?;
    with_double(attachment.request(Command::Add))?.succeeded()?;
    attachment.remove_netns()?;
    let error = with_double(gc(context, &[]))?.error()?;
    let is_told = error.to_string().contains("no way to clean up");
    require(is_told, "the IPAM plugin's error in the plugin's", &error)?;
    context.require_unchanged(&before, "the ADD")
});

/// The name of a second network.
const OTHER: &str = "conformance-other";

/// Returns a GC with this list, and any other call as it is.
fn with_valid(call: Call, valid: Value) -> Call {
    if !call.is(Command::Gc) {
        return call;
    }
    call.edited(|config| config[VALID] = valid)
}

fn gc<'c>(context: &'c Context<'c>, valid: &[&Attachment<'_>]) -> Request<'c> {
    let ifname = &context.profile().ifname;
    let valid = valid
        .iter()
        .map(|one| json!({"containerID": one.container(), "ifname": ifname}));
    context
        .request(Command::Gc)
        .key(VALID, valid.collect::<Value>())
}

fn must_succeed(request: &Request<'_>) -> Result<Run, Failure> {
    let run = request.run()?;
    run.succeeded()?;
    Ok(run)
}

fn everything_goes(context: &Context<'_>, valid: Value) -> Result<(), Failure> {
    let before = context.state()?;
    for name in ["c1", "c2"] {
        let attachment = context.attachment(name)?;
        attachment.add()?;
        attachment.remove_netns()?;
    }
    must_succeed(&context.request(Command::Gc).key(VALID, valid))?;
    context.require_unchanged(&before, "the ADDs")
}
