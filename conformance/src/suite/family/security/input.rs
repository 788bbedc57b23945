//! Hostile text: names that are paths, documents that are too much.

use crate::suite::{
    Case, Clause, Failure, Fault, Kind, Made, Need, Run, Versions, at,
    family::USABLE_IFNAME,
    fault::{Answer, put},
    require,
};
use cni_types::{Code, Command, SpecVersion};
use std::path::Path;

/// Between the folder that it leaves and the root there are some, and each plugin begins in
/// another.
const EVIL: [&str; 5] = [
    "/run/evil",
    "/run/cni-conformance/evil",
    "/run/cni-conformance/data/evil",
    "/var/lib/evil",
    "/var/lib/cni/evil",
];

const AN_EXIT: Clause = Clause::new(
    "2 Errors",
    "a plugin exits, with 0 or another status; a signal is no exit",
);

pub(super) const CASES: &[Case] = &[
    NETWORK_NAME,
    CONTAINER_ID,
    IFNAME,
    IPAM_TYPE,
    ERROR_IS_JSON,
    STDIN_DEPTH,
    STDIN_SIZE,
];

const NETWORK_NAME: Case = Case::should(
    "security/network-name",
    "a network name that is a path is refused with code 7, and nothing is written there",
    Clause::new(
        "1 Configuration format",
        "a name begins with a letter or digit, has letters, digits, underscores, dots and \
         hyphens, and nothing that a file's path cannot have; it binds who writes the \
         configuration, so a plugin that does without the name may take any",
    ),
)
.faults(&[
    Fault::new("makes a folder for any name", |real, call| {
        let name = at(&call.config(), "/name")
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if name.starts_with("..") {
            std::fs::create_dir_all(Path::new("/run/cni-conformance/data"))?;
            std::fs::create_dir_all(Path::new("/run/cni-conformance/data").join(name))?;
        }
        real.run(&call)
    }),
    Fault::new("takes any name", |real, call| {
        real.run(&call.edited(|config| put(config, "/name", "n")))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    for name in [
        "../../evil",
        "../evil",
        "/run/evil",
        "a/b",
        "..",
        ".hidden",
        "-x",
        "a b",
        "a\nb",
        "",
    ] {
        attachment
            .request(Command::Add)
            .key("name", name)
            .run()?
            .error_with(Code::INVALID_CONFIG)?;
    }
    // The answer of a DEL for such a network is open; the place at which it writes is not.
    attachment
        .request(Command::Del)
        .key("name", "../../evil")
        .run()?;
    require_no_evil()?;
    context.require_unchanged(&before, "the refused ADDs")
});

const CONTAINER_ID: Case = Case::must(
    "security/container-id",
    "a container id that is a path, an option or two lines is refused with code 4",
    Clause::new(
        "2 Parameters",
        "CNI_CONTAINERID begins with a letter or digit, and has letters, digits, underscores, \
         dots and hyphens",
    ),
)
.faults(&[Fault::new("takes the last part of a path", |real, call| {
    let id = call.env("CNI_CONTAINERID");
    let id = id
        .rsplit(['/', ' ', '\n', '-', '.'])
        .next()
        .unwrap_or_default()
        .to_owned();
    real.run(&call.with_env("CNI_CONTAINERID", id))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    for id in ["../../evil", "a/b", "-x", ".x", "a b", "a\nb", "/run/evil"] {
        for command in [Command::Add, Command::Del] {
            let request = attachment.request(command).env("CNI_CONTAINERID", id);
            request.run()?.error_with(Code::INVALID_ENVIRONMENT)?;
        }
    }
    require_no_evil()?;
    context.require_unchanged(&before, "the refused requests")
});

const IFNAME: Case = Case::must(
    "security/ifname",
    "an interface name that is a path, or that the kernel does not take, is refused",
    USABLE_IFNAME,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[Fault::new("makes the name a good one", |real, call| {
    let name = call
        .env("CNI_IFNAME")
        .replace(['/', ' ', ':', '.', '\n'], "x");
    real.run(&call.with_env("CNI_IFNAME", name))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    for name in [
        "../../evil",
        "a/b",
        "a b",
        "a:b",
        ".",
        "..",
        "a\nb",
        "a-name-of-seventeen",
    ] {
        attachment
            .request(Command::Add)
            .env("CNI_IFNAME", name)
            .run()?
            .error()?;
    }
    require_no_evil()?;
    context.require_unchanged(&before, "the refused ADDs")
});

const IPAM_TYPE: Case = Case::must(
    "security/ipam-type",
    "an ipam.type with a path in it is refused, and nothing is executed",
    Clause::new(
        "CVE-2021-20206",
        "a type is the name of a file in CNI_PATH and must not contain what paths are made of; \
         otherwise who writes a configuration can execute any program",
    ),
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam, Need::Double])
.faults(&[Fault::new("goes where the type leads", |real, call| {
    let kind = at(&call.config(), "/ipam/type")
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = call.env("CNI_PATH");
    if kind.contains('/') {
        let program = Path::new(path.split(':').next().unwrap_or_default()).join(kind);
        let _ = std::process::Command::new(program)
            .stdin(std::process::Stdio::null())
            .output();
    }
    real.run(&call)
})])
.body(|context| {
    let evil = context.double("evil", &[])?;
    let program = evil.folder().join(evil.name());
    let beside = evil.folder().with_file_name("beside");
    std::fs::create_dir_all(&beside)?;
    let path = format!("{}:{}", beside.display(), context.bin_dir().display());
    let attachment = context.attachment("c1")?;
    for kind in [
        "../double-evil/evil".to_owned(),
        program.display().to_string(),
        "..".to_owned(),
        "a\0b".to_owned(),
    ] {
        for command in [Command::Add, Command::Del] {
            let mut config = attachment.request(command).config();
            put(&mut config, "/ipam/type", kind.as_str());
            let run = attachment
                .request(command)
                .with_config(config)
                .env("CNI_PATH", &path)
                .run()?;
            if command == Command::Add {
                run.error()?;
            }
        }
    }
    let calls = evil.calls()?;
    let found = calls
        .iter()
        .map(|call| call.command())
        .collect::<Vec<_>>()
        .join(", ");
    require(
        calls.is_empty(),
        "no run of the program that the type leads to",
        found,
    )
});

const ERROR_IS_JSON: Case = Case::must(
    "security/error-is-json",
    "an error about hostile text is one JSON document all the same",
    Clause::new("5 Error", "an error is a JSON object"),
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new(
    "puts text into errors as it is",
    |real, call| {
        let answer = real.run(&call)?;
        let name = at(&call.config(), "/name")
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let text = format!("{{\"code\":7,\"msg\":\"bad name {name}\"}}");
        Ok(if answer.status == 0 {
            answer
        } else {
            Answer {
                stdout: text.into(),
                ..answer
            }
        })
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    for text in [
        "a\"b",
        "a\\",
        "a\n{}",
        "\u{1b}[31ma",
        "\u{7f}\u{0}",
        "\u{202e}a",
    ] {
        attachment
            .request(Command::Add)
            .key("name", text)
            .run()?
            .error()?;
    }
    Ok(())
});

const STDIN_DEPTH: Case = Case::must(
    "security/stdin-depth",
    "a configuration of a hundred thousand brackets does not make the plugin crash",
    AN_EXIT,
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new("runs out of stack", |real, call| {
    let depth = call.stdin.iter().filter(|byte| **byte == b'[').count();
    if depth > 10_000 {
        std::process::abort()
    } else {
        real.run(&call)
    }
})])
.body(|context| {
    const DEPTH: usize = 100_000;
    let attachment = context.attachment("c1")?;
    let config = attachment.request(Command::Add).config().to_string();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
        let text = config.replacen('{', &format!("{{\"x-deep\":{deep},"), 1);
        require_answer(&attachment.request(Command::Add).stdin(text).run()?)?;
        attachment.request(Command::Del).run()?;
    }
    let unclosed = "[".repeat(DEPTH);
    attachment
        .request(Command::Add)
        .stdin(unclosed)
        .run()?
        .error()?;
    Ok(())
});

const STDIN_SIZE: Case = Case::must(
    "security/stdin-size",
    "a configuration of 32 MiB does not make the plugin crash or hang",
    AN_EXIT,
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new("fails without a word", |real, call| {
    if call.stdin.len() > 1 << 20 {
        return Ok(Answer {
            status: 1,
            ..Answer::default()
        });
    }
    real.run(&call)
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let request = attachment
        .request(Command::Add)
        .key("x-large", "x".repeat(32 << 20));
    let run = request.spawn()?.finish()?;
    context.step(format!(
        "ADD with a configuration of 32 MiB: {}",
        run.summary()
    ));
    if !require_answer(&run)? {
        context.note(format!(
            "a configuration of 32 MiB is refused: {}",
            run.summary()
        ));
    }
    Ok(())
});

fn require_no_evil() -> Result<(), Failure> {
    let found = EVIL
        .iter()
        .find(|path| Path::new(path).symlink_metadata().is_ok());
    require(
        found.is_none(),
        "nothing written outside of the plugin's own folders",
        found.unwrap_or(&""),
    )
}

/// A result or an error object, whichever.
fn require_answer(run: &Run) -> Result<bool, Failure> {
    if run.status.success() {
        Ok(run.result().map(|_| true)?)
    } else {
        Ok(run.error().map(|_| false)?)
    }
}
