//! A pod's life, in the order of kubelet's calls.

use crate::{
    cri::*,
    runtime::{Outcome, Runtime},
};
use std::time::Duration;

/// The time within which a container must reach a state.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running pod.
pub struct Pod {
    pub name: String,
    pub sandbox: String,
    pub address: String,
    config: PodSandboxConfig,
    main: Option<String>,
    exited: Vec<String>,
}

impl Pod {
    /// Makes the sandbox and asks for its address, as kubelet does first.
    pub async fn start(
        runtime: &mut Runtime,
        name: &str,
        ports: Vec<PortMapping>,
        logs: &str,
    ) -> Outcome<Self> {
        let metadata =
            PodSandboxMetadata { name: name.into(), uid: format!("uid-{name}"), namespace: "default".into() };
        let config = PodSandboxConfig {
            metadata: Some(metadata),
            hostname: name.into(),
            log_directory: format!("{logs}/{name}"),
            port_mappings: ports,
            linux: Some(LinuxPodSandboxConfig::default()),
        };
        std::fs::create_dir_all(&config.log_directory)?;
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let answer: SandboxId = runtime.call("Runtime", "RunPodSandbox", name, request).await?;
        let sandbox = answer.pod_sandbox_id;
        let mut pod = Self {
            name: name.into(),
            sandbox,
            address: String::new(),
            config,
            main: None,
            exited: Vec::new(),
        };
        pod.address = pod.addresses(runtime).await?.into_iter().next().ok_or("the sandbox has no address")?;
        Ok(pod)
    }

    /// Returns the addresses that the runtime reports.
    pub async fn addresses(&self, runtime: &mut Runtime) -> Outcome<Vec<String>> {
        let request = SandboxId { pod_sandbox_id: self.sandbox.clone() };
        let answer: PodSandboxStatusResponse =
            runtime.call("Runtime", "PodSandboxStatus", &self.name, request).await?;
        let network = answer.status.and_then(|status| status.network).unwrap_or_default();
        let additional = network.additional_ips.into_iter().map(|ip| ip.ip);
        Ok(std::iter::once(network.ip).chain(additional).filter(|ip| !ip.is_empty()).collect())
    }

    /// Runs a container that must end well before the next one: an init container.
    pub async fn run_init(&mut self, runtime: &mut Runtime, image: &str, command: &[&str]) -> Outcome<()> {
        let id = self.start_container(runtime, "init", image, command).await?;
        let status = self.wait(runtime, "init", &id, 2).await?;
        self.exited.push(id);
        if status.exit_code != 0 {
            return Err(format!("the init container of {} ended with {}", self.name, status.exit_code).into());
        }
        Ok(())
    }

    /// Starts the main container.
    pub async fn run_main(&mut self, runtime: &mut Runtime, image: &str, command: &[&str]) -> Outcome<()> {
        let id = self.start_container(runtime, "main", image, command).await?;
        self.wait(runtime, "main", &id, 1).await?;
        self.main = Some(id);
        Ok(())
    }

    async fn start_container(
        &self,
        runtime: &mut Runtime,
        name: &str,
        image: &str,
        command: &[&str],
    ) -> Outcome<String> {
        let subject = format!("{}/{name}", self.name);
        let spec = ImageSpec { image: image.into() };
        let request = ImageStatusRequest { image: Some(spec.clone()) };
        let answer: ImageStatusResponse = runtime.call("Image", "ImageStatus", &subject, request).await?;
        answer
            .image
            .ok_or_else(|| format!("the image {image} is not there; it should have been imported"))?;
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.into() }),
            image: Some(spec),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainerConfig {}),
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: self.sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let id: ContainerId = runtime.call("Runtime", "CreateContainer", &subject, request).await?;
        let _: Nothing = runtime.call("Runtime", "StartContainer", &subject, id.clone()).await?;
        Ok(id.container_id)
    }

    async fn wait(
        &self,
        runtime: &mut Runtime,
        name: &str,
        id: &str,
        state: i32,
    ) -> Outcome<ContainerStatus> {
        let subject = format!("{}/{name}", self.name);
        let start = tokio::time::Instant::now();
        loop {
            let request = ContainerId { container_id: id.into() };
            let answer: ContainerStatusResponse =
                runtime.call("Runtime", "ContainerStatus", &subject, request).await?;
            let status = answer.status.unwrap_or_default();
            if status.state == state {
                return Ok(status);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{subject} is in state {} after {PATIENCE:?}", status.state).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Runs a command in the main container. Returns if it succeeded, and its output.
    pub async fn exec(&self, runtime: &mut Runtime, command: &[&str]) -> Outcome<(bool, String)> {
        let container_id = self.main.clone().ok_or("the pod has no main container")?;
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecSyncRequest { container_id, cmd, timeout: 10 };
        let answer: ExecSyncResponse = runtime.call("Runtime", "ExecSync", &self.name, request).await?;
        let text =
            String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr);
        Ok((answer.exit_code == 0, text))
    }

    /// Stops the pod. kubelet repeats StopPodSandbox, and so does this.
    pub async fn stop(&self, runtime: &mut Runtime) -> Outcome<()> {
        if let Some(id) = &self.main {
            let request = ContainerId { container_id: id.clone() };
            let _: Nothing = runtime.call("Runtime", "StopContainer", &self.name, request).await?;
        }
        for _ in 0..3 {
            let request = SandboxId { pod_sandbox_id: self.sandbox.clone() };
            let _: Nothing = runtime.call("Runtime", "StopPodSandbox", &self.name, request).await?;
        }
        Ok(())
    }

    /// Removes the containers and the sandbox.
    pub async fn remove(&self, runtime: &mut Runtime) -> Outcome<()> {
        for id in self.exited.iter().chain(&self.main) {
            let request = ContainerId { container_id: id.clone() };
            let _: Nothing = runtime.call("Runtime", "RemoveContainer", &self.name, request).await?;
        }
        let request = SandboxId { pod_sandbox_id: self.sandbox.clone() };
        let _: Nothing = runtime.call("Runtime", "RemovePodSandbox", &self.name, request).await?;
        Ok(())
    }
}
