//! A connection to a container runtime, like kubelet's. Every call is shown with its CNI calls.

use crate::{
    cri::*,
    record::{self, CniCall, now},
    show,
};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use std::{
    collections::HashSet,
    error::Error,
    path::{Path, PathBuf},
};
use tokio::net::UnixStream;
use tonic::{
    Request,
    client::Grpc,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

pub struct Runtime {
    channel: Channel,
    records: PathBuf,
    shown: usize,
    began: f64,
}

impl Runtime {
    /// Connects to the socket. `records` is the file of the recorder.
    pub async fn connect(socket: &Path, records: &Path) -> Outcome<Self> {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        // The address is not used, since the connector has the socket.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
        Ok(Self { channel, records: records.to_owned(), shown: 0, began: now() })
    }

    /// Makes one call: `service` is Runtime or Image, `subject` the pod or container that is shown.
    pub async fn call<Q, A>(&mut self, service: &str, name: &str, subject: &str, request: Q) -> Outcome<A>
    where
        Q: Message + 'static,
        A: Message + Default + Told + 'static,
    {
        let began = now();
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await?;
        let path = PathAndQuery::try_from(format!("/runtime.v1.{service}Service/{name}"))?;
        let answer = grpc.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await;
        let outcome = match &answer {
            Ok(answer) => answer.get_ref().summary(),
            Err(status) => format!("FAILED: {}", status.message()),
        };
        show::cri_call(began - self.began, now() - began, name, subject, &outcome);
        self.show_cni_calls()?;
        let answer = answer.map_err(|status| format!("{name} {subject}: {}", status.message()))?;
        Ok(answer.into_inner())
    }

    /// Returns all calls of plugins so far, in the order in which they began.
    pub fn cni_calls(&self) -> Outcome<Vec<CniCall>> {
        Ok(record::read(&self.records)?)
    }

    fn show_cni_calls(&mut self) -> Outcome<()> {
        let calls = self.cni_calls()?;
        let mut new: Vec<&CniCall> = calls.iter().skip(self.shown).collect();
        new.sort_by(|a, b| a.began.total_cmp(&b.began));
        for call in &new {
            show::cni_call(call.began - self.began, call);
        }
        self.shown = calls.len();
        Ok(())
    }

    /// Returns the number of pods that the runtime knows.
    pub async fn pods(&mut self) -> Outcome<HashSet<String>> {
        let request = ListPodSandboxRequest {};
        let answer: ListPodSandboxResponse = self.call("Runtime", "ListPodSandbox", "", request).await?;
        Ok(answer.items.into_iter().map(|item| item.pod_sandbox_id).collect())
    }
}
