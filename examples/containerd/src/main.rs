//! Two pods with a real container runtime: kubelet's CRI calls, and below each its CNI calls.
//!
//! ```text
//! cri-walk SOCKET RECORDS OUTSIDE HOST LOGS
//! cri-walk timeline RECORDS RUNTIME-LOG SINCE ZERO
//! cri-walk pods
//! ```
//!
//! SOCKET is the runtime's socket, RECORDS the file of the recorder (`record`), OUTSIDE the address
//! of a web server outside the host, HOST the host's outer address, LOGS a folder. If it is started
//! under the name of a plugin, the program is the recorder.
//!
//! The other two commands are for a real kubelet: `timeline` shows its calls, from containerd's log
//! and the recorder; `pods` shows kubelet's own list of its pods.

mod cri;
mod pod;
mod pods;
mod record;
mod runtime;
mod show;
mod timeline;

use cri::{PortMapping, StatusRequest, StatusResponse, VersionRequest, VersionResponse};
use pod::Pod;
use runtime::{Outcome, Runtime};
use std::{
    ffi::OsString,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

const IMAGE: &str = "example.local/busybox:1";
const HOST_PORT: i32 = 18080;
const PORT: u16 = 8080;

/// The arguments of the walk.
struct Scene {
    socket: PathBuf,
    records: PathBuf,
    outside: String,
    host: String,
    logs: String,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = PathBuf::from(arguments.next().unwrap_or_default());
    if program.file_name().is_some_and(|name| name != "cri-walk") {
        return record::run(&program).unwrap_or_else(|e| failure(&e.to_string()));
    }
    let words: Vec<OsString> = arguments.collect();
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let (socket, records, outside, host, logs) = match words.as_slice() {
        [mode, records, log, since, zero] if mode == "timeline" => {
            return finish(timeline::print(records.as_ref(), log.as_ref(), &text(since), &text(zero)));
        }
        [mode] if mode == "pods" => return finish(pods::print()),
        [socket, records, outside, host, logs] => (socket, records, outside, host, logs),
        _ => return failure("usage: cri-walk SOCKET RECORDS OUTSIDE HOST LOGS"),
    };
    let scene = Scene {
        socket: socket.into(),
        records: records.into(),
        outside: text(outside),
        host: text(host),
        logs: text(logs),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|tokio| tokio.block_on(walk(&scene))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => failure("some checks failed"),
        Err(e) => failure(&e.to_string()),
    }
}

fn finish(outcome: Outcome<()>) -> ExitCode {
    outcome.map_or_else(|e| failure(&e.to_string()), |()| ExitCode::SUCCESS)
}

fn failure(text: &str) -> ExitCode {
    eprintln!("cri-walk: {text}");
    ExitCode::FAILURE
}

async fn walk(scene: &Scene) -> Outcome<bool> {
    let mut runtime = Runtime::connect(&scene.socket, &scene.records).await?;
    introduce(&mut runtime).await?;
    runtime.pods().await?;

    show::heading("two pods, each with an init container and a normal one");
    let ports = vec![PortMapping { container_port: i32::from(PORT), host_port: HOST_PORT }];
    let web =
        start(&mut runtime, "web", ports, scene, &["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/"])
            .await?;
    let client = start(&mut runtime, "client", Vec::new(), scene, &["/bin/busybox", "sleep", "600"]).await?;

    show::heading("the network");
    let mut held = paths(&mut runtime, scene, &web, &client).await?;

    show::heading("the end");
    for pod in [&web, &client] {
        pod.stop(&mut runtime).await?;
        pod.remove(&mut runtime).await?;
    }
    let left = runtime.pods().await?.len();
    held &= point(left == 0, &format!("the runtime knows {left} pods"));
    held &= every_call_succeeded(&runtime)?;
    Ok(held)
}

async fn introduce(runtime: &mut Runtime) -> Outcome<()> {
    let _: VersionResponse = runtime.call("Runtime", "Version", "", VersionRequest::default()).await?;
    let status: StatusResponse = runtime.call("Runtime", "Status", "", StatusRequest {}).await?;
    let conditions = status.status.unwrap_or_default().conditions;
    match conditions.iter().find(|condition| !condition.status) {
        Some(wrong) => Err(format!("{} is false: {} {}", wrong.kind, wrong.reason, wrong.message).into()),
        None => Ok(()),
    }
}

async fn start(
    runtime: &mut Runtime,
    name: &str,
    ports: Vec<PortMapping>,
    scene: &Scene,
    command: &[&str],
) -> Outcome<Pod> {
    let mut pod = Pod::start(runtime, name, ports, &scene.logs).await?;
    pod.run_init(runtime, IMAGE, &["/bin/busybox", "ip", "address", "show", "eth0"]).await?;
    pod.run_main(runtime, IMAGE, command).await?;
    Ok(pod)
}

/// Checks pod → pod, host → pod, pod → outside, and the host's port if portmap is available.
async fn paths(runtime: &mut Runtime, scene: &Scene, web: &Pod, client: &Pod) -> Outcome<bool> {
    let mut held = true;
    for address in web.addresses(runtime).await? {
        let (answered, text) =
            client.exec(runtime, &["/bin/busybox", "ping", "-c1", "-W2", &address]).await?;
        held &= point(answered, &format!("client pings web at {address}{}", failure_text(answered, &text)));
    }
    let (answered, text) = read_page(runtime, client, &web.address, PORT, "/etc/hostname").await?;
    held &= point(answered && text == "web", &format!("client reads the page of web: {text}"));
    let from_host = hostname_of(&format!("{}:{PORT}", web.address));
    held &= point(from_host.is_ok(), &format!("the host reads the same page: {from_host:?}"));
    let (answered, text) = read_page(runtime, client, &scene.outside, 8000, "/").await?;
    held &= point(answered && text.contains("outside"), &format!("client reads a page outside: {text}"));
    if runtime.cni_calls()?.iter().any(|call| call.plugin == "portmap") {
        let from_host = hostname_of(&format!("{}:{HOST_PORT}", scene.host));
        held &=
            point(from_host.is_ok(), &format!("port {HOST_PORT} of the host leads to web: {from_host:?}"));
    }
    Ok(held)
}

/// Returns the last line of a page that a pod reads. It uses nc, since the wget of a static busybox
/// needs files of the C library for names.
async fn read_page(
    runtime: &mut Runtime,
    pod: &Pod,
    server: &str,
    port: u16,
    path: &str,
) -> Outcome<(bool, String)> {
    let ask = format!(r"printf 'GET {path} HTTP/1.0\r\n\r\n' | /bin/busybox nc -w 3 {server} {port}");
    let (answered, text) = pod.exec(runtime, &["/bin/busybox", "sh", "-c", &ask]).await?;
    Ok((answered, text.lines().last().unwrap_or_default().to_owned()))
}

/// Reads the page with the host name of the pod that answers.
fn hostname_of(server: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(
            &server.parse().map_err(std::io::Error::other)?,
            Duration::from_secs(3),
        )?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(b"GET /etc/hostname HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.lines().last().unwrap_or_default().to_owned())
    };
    match ask() {
        Ok(name) if name == "web" => Ok(name),
        Ok(other) => Err(format!("answered {other:?}")),
        Err(e) => Err(e.to_string()),
    }
}

fn every_call_succeeded(runtime: &Runtime) -> Outcome<bool> {
    let calls = runtime.cni_calls()?;
    let failed = calls.iter().filter(|call| call.exit != Some(0)).count();
    Ok(point(failed == 0 && !calls.is_empty(), &format!("{} CNI calls, {failed} failed", calls.len())))
}

fn failure_text(answered: bool, text: &str) -> String {
    if answered { String::new() } else { format!(": {}", text.trim()) }
}

fn point(holds: bool, what: &str) -> bool {
    show::point(holds, what);
    holds
}
