//! Embedded clusters for tests of commands that need one.

use kmirror::kafka::admin::NewTopic;
use kmirror::kafka::{Client, ClientConfig};
use kmirror::sandbox::{Faults, Sandbox, SandboxConfig};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::apply::WRITES;
use crate::support::{Ran, Scenario};

/// The clusters `east` and `west`, and a folder with a file that links them.
pub struct TwoClusters {
    pub scenario: Scenario,
    pub east: Sandbox,
    pub west: Sandbox,
    runtime: Runtime,
}

impl TwoClusters {
    /// Clusters of so many brokers; `mirror.toml` is their addresses with `more` behind it.
    pub fn start(brokers: usize, more: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let start = |name: &str| {
            let mut config = SandboxConfig::new(name, brokers);
            config.cluster_id = Some(format!("{name}-id"));
            runtime
                .block_on(Sandbox::start(config))
                .expect("a free port on loopback")
        };
        let (east, west) = (start("east"), start("west"));
        let clusters = Self {
            scenario: Scenario::new(),
            east,
            west,
            runtime,
        };
        clusters.write(more);
        clusters
    }

    /// Writes `mirror.toml` anew.
    pub fn write(&self, more: &str) {
        let text = format!(
            "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"{}\"\n[clusters.west]\nbootstrap_servers = \"{}\"\n{more}",
            self.east.bootstrap_servers(),
            self.west.bootstrap_servers()
        );
        self.scenario.file("mirror.toml", text);
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.scenario.run(arguments)
    }

    pub fn client(&self, sandbox: &Sandbox) -> Client {
        let config = ClientConfig::new(sandbox.name(), vec![sandbox.bootstrap_servers()]);
        self.block_on(Client::connect(config))
            .expect("the sandbox is there")
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    pub fn create(&self, sandbox: &Sandbox, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            replication_factor: Some(1),
            configs: configs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let admin = self.client(sandbox).admin();
        for (topic, result) in self.block_on(admin.create_topics(vec![topic], false)) {
            result.unwrap_or_else(|error| panic!("{topic}: {error}"));
        }
    }

    /// Names of the requests that change something which came in since this was last asked, each once.
    pub fn take_writes(&self) -> [(&str, Vec<String>); 2] {
        [&self.east, &self.west].map(|sandbox| {
            let came = sandbox.take_requests();
            let writes = WRITES
                .iter()
                .filter(|api| came.contains_key(&(**api as i16)));
            (
                sandbox.name(),
                writes.map(|api| format!("{api:?}")).collect(),
            )
        })
    }

    pub fn faults(&self) -> [Faults; 2] {
        [self.east.faults(), self.west.faults()]
    }
}
