//! Kafka clusters for tests: KRaft with one or several nodes, and ZooKeeper mode.
//!
//! Ports are claimed before the configuration is written and kept while the cluster lives, so that a broker can be
//! killed and started again on the same address.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use base64::Engine as _;
use rand::RngCore;

use super::client;
use super::jars::{Distribution, Heap, Version};
use super::lab::Lab;
use super::ports::Port;
use super::process::{self, Process};
use super::proxy::Proxy;
use super::tools::Tools;

/// What keeps a cluster's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Kraft,
    ZooKeeper,
}

/// A cluster to be started.
#[derive(Debug, Clone)]
pub struct Spec {
    name: String,
    version: Version,
    mode: Mode,
    nodes: u16,
    heap: Heap,
    port: Option<u16>,
    config: BTreeMap<String, String>,
    /// Names and security protocols of listeners besides the plaintext one.
    listeners: Vec<(String, String)>,
    /// Java system properties of the brokers.
    properties: Vec<(String, String)>,
    proxied: bool,
    /// A node, and how many MiB its disk has.
    small_disk: Option<(usize, u32)>,
}

/// The listener that is announced under the addresses of proxies.
const PROXIED: &str = "PROXIED";

impl Spec {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn new(name: &str, version: Version) -> Self {
        let config = [
            ("offsets.topic.num.partitions", "1"),
            ("transaction.state.log.num.partitions", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
            // So that tests may give workers short sessions.
            ("group.min.session.timeout.ms", "1000"),
            ("auto.create.topics.enable", "false"),
            ("auto.leader.rebalance.enable", "false"),
            // The default is 128 MiB, touched at start.
            ("log.cleaner.dedupe.buffer.size", "4194304"),
            ("log.cleaner.backoff.ms", "200"),
            ("log.retention.check.interval.ms", "2000"),
        ];
        Self {
            name: name.to_owned(),
            version,
            mode: Mode::Kraft,
            nodes: 1,
            heap: Heap::Small,
            port: None,
            config: config
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            listeners: Vec::new(),
            properties: Vec::new(),
            proxied: false,
            small_disk: None,
        }
    }

    pub fn zookeeper(mut self) -> Self {
        self.mode = Mode::ZooKeeper;
        self
    }

    pub fn nodes(mut self, nodes: u16) -> Self {
        self.nodes = nodes;
        self
    }

    pub fn heap(mut self, heap: Heap) -> Self {
        self.heap = heap;
        self
    }

    /// The first node listens here instead of on a free port; waits until nobody else uses it.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// One more listener, on a free port of every node; see [`Cluster::address`]. KRaft only.
    pub fn listener(mut self, name: &str, protocol: &str) -> Self {
        self.listeners.push((name.to_owned(), protocol.to_owned()));
        self
    }

    /// Every node is also reached through a [`Proxy`]; see [`Cluster::proxied`]. KRaft only.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self.listener(PROXIED, "PLAINTEXT")
    }

    /// One node keeps its data on a disk of so many MiB, made of memory. Wants the right to mount.
    pub fn small_disk(mut self, node: usize, mib: u32) -> Self {
        self.small_disk = Some((node, mib));
        self
    }

    /// A Java system property of the brokers.
    pub fn system_property(mut self, key: &str, value: &str) -> Self {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and returns when every node has answered that all of them are there.
    pub fn start(self, lab: &Lab) -> Result<Cluster> {
        let distribution = Distribution::get(self.version)?;
        let dir = lab.subdir(&self.name)?;
        let ports = (0..self.nodes)
            .map(|n| match self.port {
                Some(number) if n == 0 => wait_for_port(number),
                _ => Port::free(),
            })
            .collect::<Result<Vec<_>>>()?;
        let inner = (0..self.nodes)
            .map(|_| Port::free())
            .collect::<Result<Vec<_>>>()?;
        let extra = (0..self.nodes)
            .map(|_| self.listeners.iter().map(|_| Port::free()).collect())
            .collect::<Result<Vec<Vec<Port>>>>()?;
        let proxied = self.listeners.iter().position(|(name, _)| name == PROXIED);
        let proxies = match proxied {
            Some(index) if self.proxied => extra
                .iter()
                .map(|ports| Proxy::start(ports[index].address()))
                .collect::<Result<Vec<_>>>()?,
            _ => Vec::new(),
        };
        let mut cluster = Cluster {
            cluster_id: random_uuid(),
            proxies,
            disk: None,
            nodes: (0..self.nodes).map(|_| None).collect(),
            zookeeper: None,
            spec: self,
            distribution,
            dir,
            ports,
            inner,
            extra,
        };
        cluster.write_files()?;
        let start = Instant::now();
        for n in 0..cluster.nodes.len() {
            cluster.launch(n)?;
        }
        cluster.await_ready(Duration::from_secs(90))?;
        lab.note(format!(
            "cluster {} ({} {:?}, {} node(s)) is up at {} after {:.1} s",
            cluster.spec.name,
            cluster.spec.version.number(),
            cluster.spec.mode,
            cluster.nodes.len(),
            cluster.bootstrap(),
            start.elapsed().as_secs_f64()
        ));
        Ok(cluster)
    }
}

/// A running cluster; dropped, it is killed.
#[derive(Debug)]
pub struct Cluster {
    spec: Spec,
    distribution: Distribution,
    dir: PathBuf,
    cluster_id: String,
    ports: Vec<Port>,
    /// Controller listeners, or (first of them) ZooKeeper's port.
    inner: Vec<Port>,
    /// By node, in the order of the listeners in the spec.
    extra: Vec<Vec<Port>>,
    nodes: Vec<Option<Process>>,
    zookeeper: Option<Process>,
    proxies: Vec<Proxy>,
    disk: Option<Disk>,
}

impl Cluster {
    pub fn bootstrap(&self) -> String {
        self.ports
            .iter()
            .map(Port::address)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Where a listener of [`Spec::listener`] is reached, at every node.
    pub fn address(&self, listener: &str) -> String {
        let index = self
            .spec
            .listeners
            .iter()
            .position(|(name, _)| name == listener)
            .expect("a listener of the spec");
        self.extra
            .iter()
            .map(|ports| ports[index].address())
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Where the cluster is reached through its proxies.
    pub fn proxied(&self) -> String {
        self.proxies
            .iter()
            .map(Proxy::address)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The proxies of [`Spec::proxied`], by node.
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// The disk of [`Spec::small_disk`].
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("the spec asks for a small disk")
    }

    /// Sends a signal to one node by name (`STOP`, `CONT`).
    pub fn signal(&mut self, node: usize, signal: &str) -> Result<()> {
        match self.nodes[node].as_mut() {
            Some(process) => process.signal(signal),
            None => bail!("node {} does not run", node + 1),
        }
    }

    /// Whether a node ended by itself.
    pub fn has_ended(&mut self, node: usize) -> Result<bool> {
        match self.nodes[node].as_mut() {
            Some(process) => Ok(process.exited()?.is_some()),
            None => Ok(true),
        }
    }

    /// Changes a setting; nodes learn of it when they are started again.
    pub fn reconfigure(&mut self, key: &str, value: &str) -> Result<()> {
        self.spec.config.insert(key.to_owned(), value.to_owned());
        for n in 0..self.nodes.len() {
            let home = self.dir.join(format!("node{}", n + 1));
            let text = self.properties(n, &home.join("data"));
            fs::write(home.join("server.properties"), text)?;
        }
        Ok(())
    }

    /// Kafka's own command line tools, of this cluster's version, aimed at it.
    pub fn tools(&self) -> Tools {
        Tools::new(self.distribution.clone(), self.bootstrap())
    }

    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// The folder that holds a node's partitions.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node{}", node + 1)).join("data")
    }

    /// SIGKILL for one node.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        if let Some(mut process) = self.nodes[node].take() {
            process.kill()?;
        }
        Ok(())
    }

    /// An orderly stop of one node.
    pub fn stop(&mut self, node: usize) -> Result<()> {
        if let Some(mut process) = self.nodes[node].take() {
            process.stop(Duration::from_secs(20))?;
        }
        Ok(())
    }

    /// Starts a stopped node again and waits for the whole cluster.
    pub fn start(&mut self, node: usize) -> Result<()> {
        self.launch(node)?;
        self.await_ready(Duration::from_secs(90))
    }

    fn write_files(&mut self) -> Result<()> {
        for n in 0..self.nodes.len() {
            let home = self.dir.join(format!("node{}", n + 1));
            let data = home.join("data");
            fs::create_dir_all(&data)?;
            if let Some((node, mib)) = self.spec.small_disk
                && node == n
            {
                self.disk = Some(Disk::mount(&data, mib)?);
            }
            fs::write(home.join("server.properties"), self.properties(n, &data))?;
            if self.spec.mode == Mode::Kraft {
                fs::copy(
                    self.distribution.checkpoint(),
                    data.join("bootstrap.checkpoint"),
                )?;
                let meta = format!(
                    "version=1\nnode.id={}\ncluster.id={}\ndirectory.id={}\n",
                    n + 1,
                    self.cluster_id,
                    random_uuid()
                );
                fs::write(data.join("meta.properties"), meta)?;
            }
        }
        if self.spec.mode == Mode::ZooKeeper {
            let text = format!(
                "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=500\n\
                 maxClientCnxns=0\n",
                self.dir.join("zookeeper-data").display(),
                self.inner[0].number()
            );
            fs::write(self.dir.join("zoo.cfg"), text)?;
        }
        Ok(())
    }

    fn properties(&self, n: usize, data: &Path) -> String {
        let replicas = self.nodes.len().min(3);
        let mut all = self.spec.config.clone();
        let mut default = |key: &str, value: String| {
            all.entry(key.to_owned()).or_insert(value);
        };
        default("log.dirs", data.display().to_string());
        default("offsets.topic.replication.factor", replicas.to_string());
        default(
            "transaction.state.log.replication.factor",
            replicas.to_string(),
        );
        default("transaction.state.log.min.isr", replicas.min(2).to_string());
        let client = self.ports[n].address();
        match self.spec.mode {
            Mode::Kraft => {
                default("process.roles", "broker,controller".to_owned());
                default("node.id", (n + 1).to_string());
                let voters: Vec<String> = self
                    .inner
                    .iter()
                    .enumerate()
                    .map(|(i, p)| format!("{}@{}", i + 1, p.address()))
                    .collect();
                default("controller.quorum.voters", voters.join(","));
                let mut listeners = format!(
                    "PLAINTEXT://{client},CONTROLLER://{}",
                    self.inner[n].address()
                );
                let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
                for ((name, protocol), port) in self.spec.listeners.iter().zip(&self.extra[n]) {
                    listeners.push_str(&format!(",{name}://{}", port.address()));
                    protocols.push_str(&format!(",{name}:{protocol}"));
                }
                if let Some(proxy) = self.proxies.get(n) {
                    let announced = format!("PLAINTEXT://{client},{PROXIED}://{}", proxy.address());
                    default("advertised.listeners", announced);
                }
                default("listeners", listeners);
                default("listener.security.protocol.map", protocols);
                default("inter.broker.listener.name", "PLAINTEXT".to_owned());
                default("controller.listener.names", "CONTROLLER".to_owned());
            }
            Mode::ZooKeeper => {
                default("broker.id", (n + 1).to_string());
                default("zookeeper.connect", self.inner[0].address());
                default("zookeeper.session.timeout.ms", "2000".to_owned());
                // Without it a broker waits for ZooKeeper no longer than a session, which is short on a busy machine.
                default("zookeeper.connection.timeout.ms", "30000".to_owned());
                default("listeners", format!("PLAINTEXT://{client}"));
            }
        }
        all.iter().map(|(k, v)| format!("{k}={v}\n")).collect()
    }

    fn launch(&mut self, n: usize) -> Result<()> {
        if self.spec.mode == Mode::ZooKeeper && self.zookeeper.is_none() {
            let mut command = self.distribution.java(Heap::Small);
            command
                .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
                .arg(self.dir.join("zoo.cfg"));
            self.zookeeper = Some(Process::spawn(
                "ZooKeeper",
                &mut command,
                &self.dir.join("zookeeper.log"),
            )?);
        }
        let home = self.dir.join(format!("node{}", n + 1));
        let mut command = self.distribution.java(self.spec.heap);
        for (key, value) in &self.spec.properties {
            command.arg(format!("-D{key}={value}"));
        }
        command
            .arg("kafka.Kafka")
            .arg(home.join("server.properties"));
        let name = format!("{} node {}", self.spec.name, n + 1);
        self.nodes[n] = Some(Process::spawn(
            &name,
            &mut command,
            &home.join("broker.log"),
        )?);
        Ok(())
    }

    fn await_ready(&mut self, at_most: Duration) -> Result<()> {
        let start = Instant::now();
        for n in 0..self.nodes.len() {
            if self.nodes[n].is_none() {
                continue;
            }
            let wanted = self.nodes.iter().flatten().count();
            while client::metadata_brokers(&self.ports[n].address()) != Some(wanted) {
                let ended = match self.nodes[n].as_mut() {
                    Some(process) => process.exited()?.is_some(),
                    None => true,
                };
                if ended {
                    let log = self.nodes[n]
                        .as_ref()
                        .map(Process::log_text)
                        .unwrap_or_default();
                    // After a kill, ZooKeeper remembers the broker until its session has run out.
                    if log.contains("NodeExists") && start.elapsed() < at_most {
                        std::thread::sleep(Duration::from_millis(500));
                        self.launch(n)?;
                        continue;
                    }
                    bail!(
                        "{} node {} ended while starting:\n{log}",
                        self.spec.name,
                        n + 1
                    );
                }
                if start.elapsed() > at_most {
                    bail!("{} was not ready after {at_most:?}", self.spec.name);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Brokers first: a broker without its ZooKeeper or quorum would only write errors into its log.
        self.nodes.clear();
        self.zookeeper = None;
        self.disk = None;
    }
}

/// A file system of its own, in memory; dropped, it is unmounted.
#[derive(Debug)]
pub struct Disk {
    place: PathBuf,
}

impl Disk {
    fn mount(place: &Path, mib: u32) -> Result<Self> {
        process::unmount_at_exit(place);
        mount(
            &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"],
            place,
        )?;
        Ok(Self {
            place: place.to_owned(),
        })
    }

    /// Whether this machine lets tests mount.
    pub fn is_possible(lab: &Lab) -> Result<bool> {
        let place = lab.subdir("mount")?;
        Ok(Self::mount(&place, 1).is_ok())
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> Result<()> {
        use std::io::Write;
        let mut file = fs::File::create(self.place.join("filler"))?;
        let mut size = 1 << 20;
        while size > 0 {
            // The error is what is wanted.
            if file.write_all(&vec![0; size]).is_err() {
                size /= 2;
            }
        }
        Ok(())
    }

    /// Gives the room back that [`Disk::fill`] took.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.place.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.place)
            .status();
        if !unmounted.is_ok_and(|status| status.success()) && self.place.join("filler").exists() {
            eprintln!("could not unmount {}", self.place.display());
        }
    }
}

fn mount(arguments: &[&str], place: &Path) -> Result<()> {
    let mut command = std::process::Command::new("mount");
    command.args(arguments).arg(place);
    let output = process::run(&mut command, None, Duration::from_secs(10))?;
    if !output.status.success() {
        bail!("cannot mount {}: {}", place.display(), output.text());
    }
    Ok(())
}

fn wait_for_port(number: u16) -> Result<Port> {
    let start = Instant::now();
    loop {
        if let Some(port) = Port::claim(number)? {
            return Ok(port);
        }
        if start.elapsed() > Duration::from_secs(120) {
            bail!("port {number} is in use; the test needs exactly this one");
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// An id as Kafka writes it. Its tools refuse one that begins with a dash.
fn random_uuid() -> String {
    loop {
        let mut bytes = [0u8; 16];
        rand::rng().fill_bytes(&mut bytes);
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        if !text.starts_with('-') {
            return text;
        }
    }
}
