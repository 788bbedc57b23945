//! The runtime's side of CNI (spec section 3): networks from files, chains of plugins, cached
//! results.
//!
//! The library leaves to its caller what the spec leaves to the runtime. In particular it does not
//! clean up after a failed ADD: the caller must send a DEL, as after every ADD.

mod cache;
mod error;
mod event;
mod files;
mod network;
mod parameters;
mod plain;
mod request;
#[cfg(test)]
mod testing;

pub use cache::{Cache, CacheEntry, CachedAttachment};
pub use error::Error;
pub use event::Event;
pub use network::{ConfigError, Network, PluginConfig};
pub use parameters::Parameters;
pub use plain::read_plain;

use cni_types::{AddResult, Code, Command, Environment, Json, Program, SpecVersion, Stderr, Stop};
use request::Subject;
use serde::Deserialize;
use std::{
    path::Path,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

/// The callback that receives every run of a plugin as soon as the plugin has ended.
type OnExit = Box<dyn Fn(&Event) + Send + Sync>;

/// The callback that receives the program and the command before every run of a plugin.
type OnStart = Box<dyn Fn(&Path, Command) + Send + Sync>;

/// Runs plugins for networks.
pub struct Runtime {
    cni_path: String,
    cache: Cache,
    environment: Environment,
    on_exit: Option<OnExit>,
    on_start: Option<OnStart>,
    timeout: Option<Duration>,
    /// Keeps GC from running beside an ADD or DEL (spec section 3, "Lifecycle"): GC takes the lock
    /// for writing, ADD and DEL for reading.
    gc_lock: RwLock<()>,
}

/// The plugins that a successful operation has run: all of them, or none if the specification or
/// the configuration rules the operation out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Every plugin was run and reported success.
    All,
    /// No plugin was run, for this reason.
    None(&'static str),
}

/// The result of an ADD.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// The result that the last plugin printed.
    pub json: Json,
    /// The same result, decoded.
    pub result: AddResult,
}

impl Runtime {
    /// Creates a runtime that looks for plugins in the folders of `cni_path`, in this order.
    /// Plugins inherit the environment of this process.
    #[must_use]
    pub fn new<P: AsRef<Path>>(cni_path: &[P], cache: Cache) -> Self {
        let folders: Vec<_> = cni_path
            .iter()
            .map(|folder| folder.as_ref().display().to_string())
            .collect();
        Self {
            cni_path: folders.join(":"),
            cache,
            environment: Environment::of_process(),
            on_exit: None,
            on_start: None,
            timeout: None,
            gc_lock: RwLock::new(()),
        }
    }

    /// Calls `on_exit` after every run of a plugin.
    #[must_use]
    pub fn on_exit(mut self, on_exit: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_exit = Some(Box::new(on_exit));
        self
    }

    /// Calls `on_start` before every run of a plugin. If the plugin hangs, this is the only report
    /// of it.
    #[must_use]
    pub fn on_start(mut self, on_start: impl Fn(&Path, Command) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Box::new(on_start));
        self
    }

    /// Ends every plugin that runs longer than `timeout`; the operation then fails. Meant for
    /// VERSION, STATUS and CHECK, which change nothing: an ADD or DEL would be left half done.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Returns the cache of results.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Attaches a container: runs every plugin in order, each with the result of the plugin before
    /// it as prevResult. Caches the last result and returns it.
    ///
    /// # Errors
    /// Fails with the error of the first plugin that fails; the plugins after it are not run. Fails
    /// also if `parameters` has no network namespace, if the network has no plugins, or if the
    /// result cannot be cached. After any error the caller must call [`Self::del`], because some
    /// plugins may have succeeded.
    pub fn add(&self, network: &Network, parameters: &Parameters) -> Result<Added, Error> {
        let _turn = self.gc_lock.read().unwrap_or_else(PoisonError::into_inner);
        if parameters.netns.is_none() {
            return Err(Error::Refused(
                "an ADD needs a network namespace".to_owned(),
            ));
        }
        let mut last: Option<Added> = None;
        for plugin in &network.plugins {
            let prev_result = last.as_ref().map(|added| &added.json);
            let subject = Subject::Attachment {
                parameters,
                prev_result,
            };
            let output = self.run(network, plugin, Command::Add, subject)?;
            last = Some(Added::parse(plugin, &output, network.version)?);
        }
        let added = last.ok_or_else(|| Error::Refused("the network has no plugins".to_owned()))?;
        self.cache.store(network, parameters, &added.json)?;
        Ok(added)
    }

    /// Detaches a container: runs every plugin in reverse order, each with the cached result as
    /// prevResult, and removes the result from the cache. If there is no readable cached result, as
    /// after a failed ADD, the plugins get no prevResult.
    ///
    /// # Errors
    /// Fails with the error of the first plugin that fails; the cached result is then kept for the
    /// next try. Fails also if the cached result cannot be removed.
    pub fn del(&self, network: &Network, parameters: &Parameters) -> Result<(), Error> {
        let _turn = self.gc_lock.read().unwrap_or_else(PoisonError::into_inner);
        // Up to 0.3.1 plugins got no prevResult with DEL.
        let cached = self.cached_result(network, parameters).ok().flatten();
        let prev_result = cached.as_ref().filter(|_| network.version.has_check());
        for plugin in network.plugins.iter().rev() {
            self.run(
                network,
                plugin,
                Command::Del,
                Subject::Attachment {
                    parameters,
                    prev_result,
                },
            )?;
        }
        self.cache.remove(&network.name, parameters)
    }

    /// Asks every plugin in order if the attachment is still as its ADD left it.
    ///
    /// # Errors
    /// Fails with the error of the first plugin that fails. Fails also if the network's version has
    /// no CHECK, or if there is no readable cached result.
    pub fn check(&self, network: &Network, parameters: &Parameters) -> Result<Asked, Error> {
        if !network.version.has_check() {
            let text = format!(
                "configuration version {} does not support the CHECK command",
                network.version
            );
            return Err(Error::Refused(text));
        }
        if network.disable_check {
            return Ok(Asked::None("the configuration says disableCheck"));
        }
        let missing = || {
            Error::Refused("there is no cached result: was this attachment ever added?".to_owned())
        };
        let cached = self
            .cached_result(network, parameters)?
            .ok_or_else(missing)?;
        for plugin in &network.plugins {
            let subject = Subject::Attachment {
                parameters,
                prev_result: Some(&cached),
            };
            self.run(network, plugin, Command::Check, subject)?;
        }
        Ok(Asked::All)
    }

    /// Asks every plugin in order if an ADD could succeed now.
    ///
    /// # Errors
    /// Fails with the error of the first plugin that fails.
    pub fn status(&self, network: &Network) -> Result<Asked, Error> {
        if !network.version.has_gc_and_status() {
            return Ok(Asked::None("STATUS came with version 1.1.0"));
        }
        for plugin in &network.plugins {
            self.run(network, plugin, Command::Status, Subject::Nothing)?;
        }
        Ok(Asked::All)
    }

    /// Lets every plugin free what belongs to none of the `valid` attachments (pairs of container
    /// id and interface name). Sends no DEL: GC does not replace DEL (spec section 2), and the
    /// caller finds the attachments that still need one in the cache.
    ///
    /// # Errors
    /// Fails with the errors of all plugins that fail; each plugin is run, even after an error.
    pub fn gc(&self, network: &Network, valid: &[(String, String)]) -> Result<Asked, Vec<Error>> {
        let _alone = self.gc_lock.write().unwrap_or_else(PoisonError::into_inner);
        if !network.version.has_gc_and_status() {
            return Ok(Asked::None("GC came with version 1.1.0"));
        }
        if network.disable_gc {
            return Ok(Asked::None("the configuration says disableGC"));
        }
        let run = |plugin| {
            self.run(network, plugin, Command::Gc, Subject::Valid(valid))
                .err()
        };
        let errors: Vec<_> = network.plugins.iter().filter_map(run).collect();
        if errors.is_empty() {
            Ok(Asked::All)
        } else {
            Err(errors)
        }
    }

    /// Returns the versions that a plugin says it supports, in the order in which it lists them.
    ///
    /// # Errors
    /// Fails if the plugin fails, or if its answer is no list of versions.
    pub fn versions(&self, plugin: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct VersionResult {
            #[serde(rename = "supportedVersions")]
            supported_versions: Vec<String>,
        }
        let failed = |error| Error::Plugin {
            plugin: plugin.to_owned(),
            command: Command::Version,
            error,
        };
        let stdin = format!(r#"{{"cniVersion":"{}"}}"#, SpecVersion::LATEST);
        let output = self
            .execute(plugin, Command::Version, &stdin, None)
            .map_err(failed)?;
        let read = Json::parse(&output).and_then(|json| json.decode::<VersionResult>());
        read.map(|result| result.supported_versions)
            .map_err(|e| failed(undecodable(&e)))
    }

    /// Returns the cached result, or `None` if the attachment has no cache file. The result has the
    /// shape of the network's version, which may have changed since the ADD.
    ///
    /// # Errors
    /// Fails if the result cannot be read, or if the version cannot express it.
    fn cached_result(
        &self,
        network: &Network,
        parameters: &Parameters,
    ) -> Result<Option<Json>, Error> {
        let Some(cached) = self.cache.load(&network.name, parameters)? else {
            return Ok(None);
        };
        convert(cached.result, network.version)
            .map(Some)
            .map_err(|e| Error::Refused(format!("cached result: {e}")))
    }

    /// Runs one plugin of a network and returns what it printed on stdout.
    fn run(
        &self,
        network: &Network,
        plugin: &PluginConfig,
        command: Command,
        subject: Subject<'_>,
    ) -> Result<Vec<u8>, Error> {
        let parameters = match subject {
            Subject::Attachment { parameters, .. } => Some(parameters),
            Subject::Valid(_) | Subject::Nothing => None,
        };
        let stdin =
            request::derive(plugin.json(), &network.name, network.version, subject).to_string();
        self.execute(plugin.kind(), command, &stdin, parameters)
            .map_err(|error| Error::Plugin {
                plugin: plugin.kind().to_owned(),
                command,
                error,
            })
    }

    /// Runs the program of the plugin `kind` with `stdin` and returns what it printed on stdout.
    ///
    /// # Errors
    /// Fails if no folder has the program, if it cannot be run, or if it reports an error. Fails
    /// with `TRY_AGAIN` if it was ended by the timeout.
    fn execute(
        &self,
        kind: &str,
        command: Command,
        stdin: &str,
        parameters: Option<&Parameters>,
    ) -> Result<Vec<u8>, cni_types::Error> {
        let program = Program::find(kind, &self.cni_path)?;
        let environment =
            parameters::environment(&self.environment, command, &self.cni_path, parameters);
        if let Some(on_start) = &self.on_start {
            on_start(program.path(), command);
        }
        let start = Instant::now();
        let stop = self.timeout.map_or_else(Stop::never, Stop::after);
        let output = program.run(&environment, stdin.as_bytes(), Stderr::Captured, &stop)?;
        if let Some(on_exit) = &self.on_exit {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            on_exit(&Event {
                plugin: kind.to_owned(),
                program: program.path().to_owned(),
                command,
                environment,
                stdin: stdin.to_owned(),
                stdout: text(&output.stdout),
                stderr: text(&output.stderr),
                status: output.status,
                duration: start.elapsed(),
            });
        }
        output.document().map_err(|error| match self.timeout {
            Some(timeout) if timeout <= start.elapsed() => cni_types::Error::new(
                Code::TRY_AGAIN,
                format!("it did not end within {} seconds", timeout.as_secs_f64()),
            ),
            _ => error,
        })
    }
}

impl Added {
    /// Reads a plugin's answer to ADD; the result has the shape of `version`.
    fn parse(plugin: &PluginConfig, output: &[u8], version: SpecVersion) -> Result<Self, Error> {
        let read = || {
            let json = Json::parse(output).map_err(|e| undecodable(&e))?;
            let json = convert(json, version)?;
            let result = AddResult::from_json(&json)?;
            Ok(Self { json, result })
        };
        let failed = |error| Error::Plugin {
            plugin: plugin.kind().to_owned(),
            command: Command::Add,
            error,
        };
        read().map_err(failed)
    }
}

/// Returns `result` in the shape of `version`. A result that already has this version is returned
/// unchanged, so that keys unknown to this library survive.
fn convert(result: Json, version: SpecVersion) -> Result<Json, cni_types::Error> {
    if result.lookup("cniVersion") == Some(&version.as_str().into()) {
        return Ok(result);
    }
    let text = AddResult::from_json(&result)?.encode(version)?.to_string();
    Json::parse(text.as_bytes()).map_err(|e| undecodable(&e))
}

fn undecodable(e: &dyn std::fmt::Display) -> cni_types::Error {
    cni_types::Error::new(
        Code::DECODE,
        format!("the plugin's answer cannot be read: {e}"),
    )
}

#[cfg(test)]
mod tests;
