//! The story of Cluster Linking: a link and a mirror topic over Kafka's REST API, from creation to deletion.
//!
//! The API is that of `kmirror serve`, in front of two embedded clusters that are reached by SASL_SSL; a worker of `kmirror run` carries
//! what is asked for. Every step is a call over HTTP, shown as curl makes it, and its answer; the demonstration fails
//! where one is not as it should be.

mod screen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::client;
use super::secured::{DESTINATION, End, SOURCE, Secured};
use super::stage::Stage;
use super::{Args, CliError, PATIENCE, Style, Ui, wrong};
use crate::client::url::HttpUrl;
use crate::control::records::LINKS_TOPIC;
use crate::inventory::gather;
use crate::kafka::security::rest::RestClient;
use crate::linking::Key;
use crate::mirror::worker::Options;
use crate::observe::Clusters;
use crate::report::inventory;
use crate::server::limits::Limits;
use crate::server::listener::Listener;
use crate::server::state::ClusterState;
use crate::server::{Access, Server};
use crate::topology::Topology;

const LINK: &str = "demo-link";
const TOPIC: &str = "demo-link-topic";

/// How often a mirror is asked for that is not yet as it should be.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often the worker looks for what it is to do: more often than `kmirror run`, for those who watch.
const REFRESH: Duration = Duration::from_millis(500);

/// Who is asked, and by whom.
struct Story<'a> {
    ui: &'a Ui,
    topology: Arc<Topology>,
    rest: RestClient,
    source: Served,
    destination: Served,
}

/// A cluster behind its listener.
struct Served {
    end: End,
    /// What stands before every path.
    base: String,
    cluster_id: String,
}

/// Tells the story.
///
/// # Errors
/// A step that did not go as it should, which would be a mistake of kmirror's.
pub(super) async fn tell(args: &Args, ui: &Ui, stage: &mut Stage) -> Result<(), CliError> {
    let began = Instant::now();
    let story = set_up(ui, stage).await?;
    story.make_topic().await?;
    story.make_link(stage).await?;
    story.make_mirror(stage).await?;
    story.copy(stage).await?;
    story.replicas().await?;
    story.promote(stage).await?;
    story.write_natively().await?;
    story.clean_up().await?;
    let seconds = began.elapsed().as_secs_f64();
    ui.say(&format!("\nDone in {seconds:.1} s."));
    ui.say(&match args.keep {
        true => story.commands(stage)?,
        false => next(),
    });
    Ok(())
}

fn title(ui: &Ui, line: &str) {
    ui.say(&format!("\n{}", ui.paint_err(Style::Bold, line)));
}

/// Clusters, file, server and worker.
async fn set_up<'a>(ui: &'a Ui, stage: &mut Stage) -> Result<Story<'a>, CliError> {
    title(
        ui,
        "Two Kafka clusters, in memory, inside this process, reached by SASL_SSL",
    );
    let secured = stage.secure(Secured::new()?).await?;
    let (source, destination) = (secured.source.clone(), secured.destination.clone());
    for end in [&source, &destination] {
        ui.say(&format!("  {:11}  {}", end.name, end.servers));
    }
    ui.say("  Certificates, users and passwords (SCRAM-SHA-512) are made for this demonstration.");

    let text = topology_file(&source, &destination);
    let path = secured.write(&text)?;
    title(ui, &format!("The topology file, {}", path.display()));
    ui.say(text.trim_end());
    let topology = Arc::new(ui.load_topology(&path)?);

    title(ui, "kmirror serve and kmirror run, with this file");
    let key = Arc::new(Key::generate());
    let server = serve(&topology, &key).await?;
    for served in server.served() {
        ui.say(&format!(
            "  serving cluster {} at {}/kafka/v3",
            served.cluster, served.url
        ));
    }
    ui.say(&format!(
        "  Secrets of links are stored encrypted, with a key made for this demonstration ({}).",
        key.id()
    ));
    let urls: Vec<String> = server.served().iter().map(|it| it.url.clone()).collect();
    stage.keep_server(server);
    let options = Options {
        holder: super::apply::holder(),
        refresh: REFRESH,
        key: Some(key),
        ..Options::default()
    };
    stage.start_worker_with(&topology, options).await?;

    title(ui, "Which clusters they are");
    ui.say("  (Of answers, kind, metadata and addresses of other documents are left out here.)");
    let rest = RestClient::without_tls();
    let [at_source, at_destination] = &urls[..] else {
        return Err(wrong("two listeners were asked for"));
    };
    let story = Story {
        ui,
        topology,
        source: identify(ui, &rest, source, at_source).await?,
        destination: identify(ui, &rest, destination, at_destination).await?,
        rest,
    };
    ui.say("From here on the calls are written with");
    ui.say(&story.variables());
    Ok(story)
}

fn topology_file(source: &End, destination: &End) -> String {
    let cluster = |end: &End| {
        format!(
            "\n[clusters.{}]\nbootstrap_servers = \"{}\"\nproperties_file = \"{}.properties\"\n",
            end.name, end.servers, end.name
        )
    };
    format!("kmirror = 1\n{}{}", cluster(source), cluster(destination))
}

/// `kmirror serve` in front of both clusters, on free ports.
async fn serve(topology: &Arc<Topology>, key: &Arc<Key>) -> Result<Server, CliError> {
    let listeners = [SOURCE, DESTINATION].map(|name| Listener {
        cluster: name.to_owned(),
        address: "127.0.0.1:0".to_owned(),
    });
    let prepared = crate::server::prepare(listeners.into(), &Access::default()).await?;
    let mut clusters: BTreeMap<String, Arc<ClusterState>> = BTreeMap::new();
    for name in prepared.clusters() {
        let cluster = ClusterState::new(name, Arc::clone(topology));
        let cluster = cluster.with_scribe(super::apply::holder(), Some(Arc::clone(key)));
        let connected = cluster.connect().await;
        connected.map_err(|error| wrong(&format!("cluster {name}: {error}")))?;
        clusters.insert(name.to_owned(), cluster);
    }
    Ok(prepared.serve(Limits::default(), |name| Arc::clone(&clusters[name])))
}

/// Asks a listener which cluster it serves.
async fn identify(ui: &Ui, rest: &RestClient, end: End, url: &str) -> Result<Served, CliError> {
    let base = format!("{url}/kafka/v3/clusters");
    ui.say(&format!("  $ curl -s {base}"));
    let (status, document) = ask(rest, Method::GET, &base, None).await?;
    ui.say(&screen::answer(status, document.as_ref()));
    let id = document.as_ref().map(|list| &list["data"][0]["cluster_id"]);
    let id = id.and_then(Value::as_str);
    let id = id.ok_or_else(|| wrong("the listener knows no cluster"))?;
    Ok(Served {
        base: format!("{base}/{id}"),
        cluster_id: id.to_owned(),
        end,
    })
}

/// A request, on a connection of its own.
async fn ask(
    rest: &RestClient,
    method: Method,
    url: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Option<Value>), CliError> {
    let url = HttpUrl::of(url).map_err(|error| wrong(&error))?;
    let body = body.map(|body| body.to_string().into_bytes());
    let called = rest.call(method, &url, body).await;
    let (status, bytes) = called.map_err(|error| wrong(&error.to_string()))?;
    if bytes.is_empty() {
        return Ok((status, None));
    }
    let document = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(&format!("the answer is no JSON: {error}")))?;
    Ok((status, Some(document)))
}

impl Story<'_> {
    fn title(&self, line: &str) {
        title(self.ui, line);
    }

    /// One call, shown with its answer; any other status than the wanted one is the end.
    async fn call(
        &self,
        at: &Served,
        method: Method,
        path: &str,
        body: Option<Value>,
        wanted: StatusCode,
    ) -> Result<Value, CliError> {
        let shown = screen::call(method.as_str(), at.end.name, path, body.as_ref());
        self.ui.say(&shown);
        let (status, document) = self.ask(at, method, path, body.as_ref()).await?;
        let answer = screen::answer(status, document.as_ref());
        self.ui.say(&answer);
        if status != wanted {
            return Err(wrong(&format!("{wanted} was expected, and {status} came")));
        }
        Ok(document.unwrap_or_default())
    }

    async fn get(&self, at: &Served, path: &str) -> Result<Value, CliError> {
        self.call(at, Method::GET, path, None, StatusCode::OK).await
    }

    async fn post(
        &self,
        at: &Served,
        path: &str,
        body: Value,
        wanted: StatusCode,
    ) -> Result<Value, CliError> {
        self.call(at, Method::POST, path, Some(body), wanted).await
    }

    async fn delete(&self, at: &Served, path: &str) -> Result<(), CliError> {
        let wanted = StatusCode::NO_CONTENT;
        let answer = self.call(at, Method::DELETE, path, None, wanted).await;
        answer.map(drop)
    }

    async fn ask(
        &self,
        at: &Served,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Option<Value>), CliError> {
        ask(&self.rest, method, &format!("{}{path}", at.base), body).await
    }

    fn variables(&self) -> String {
        format!(
            "  $ source={}\n  $ destination={}\n  $ json='Content-Type: application/json'",
            self.source.base, self.destination.base
        )
    }

    async fn make_topic(&self) -> Result<(), CliError> {
        self.title("A topic at the source");
        let body = json!({"topic_name": TOPIC, "partitions_count": 1, "replication_factor": 1});
        self.post(&self.source, "/topics", body, StatusCode::CREATED)
            .await?;
        Ok(())
    }

    /// How the link reaches its source; secrets included.
    fn new_link(&self) -> Value {
        let mut configs =
            vec![json!({"name": "bootstrap.servers", "value": self.source.end.servers})];
        for (name, value) in self.source.end.guest.properties(None) {
            configs.push(json!({"name": name, "value": value.expose()}));
        }
        json!({"source_cluster_id": self.source.cluster_id, "configs": configs})
    }

    async fn make_link(&self, stage: &Stage) -> Result<(), CliError> {
        let at = &self.destination;
        self.title("Create the link, at the destination");
        let path = format!("/links?link_name={LINK}");
        self.post(at, &path, self.new_link(), StatusCode::CREATED)
            .await?;
        self.title("List the links, and describe this one");
        let listed = self.get(at, "/links").await?;
        expect(&listed["data"][0]["link_name"], LINK)?;
        let described = self.get(at, &format!("/links/{LINK}")).await?;
        expect(&described["link_state"], "ACTIVE")?;
        self.title("Its secrets cannot be read back");
        let path = format!("/links/{LINK}/configs/sasl.jaas.config");
        let login = self.get(at, &path).await?;
        expect(&login["value"], Value::Null)?;
        let password = self.source.end.guest.password.expose();
        let links = LINKS_TOPIC;
        match stage.search(DESTINATION, links, password) {
            (0, _) => Err(wrong("no record of the link is found")),
            (_, true) => Err(wrong("the password is stored in clear")),
            (_, false) => {
                self.ui.say(&format!(
                    "  Nor does the password stand in {links}, where links are stored: it is encrypted."
                ));
                Ok(())
            }
        }
    }

    async fn make_mirror(&self, stage: &mut Stage) -> Result<(), CliError> {
        let at = &self.destination;
        self.title("Create the mirror topic");
        let body = json!({"source_topic_name": TOPIC});
        let path = format!("/links/{LINK}/mirrors");
        self.post(at, &path, body, StatusCode::CREATED).await?;
        self.title("List the mirror topics, and describe this one");
        let list = self.get(at, &path).await?;
        expect(&list["data"][0]["mirror_topic_name"], TOPIC)?;
        self.until(stage, "the worker carries it", |mirror| {
            mirror["mirror_status"] == "ACTIVE" && mirror["mirror_lags"][0]["lag"] == 0
        })
        .await
    }

    /// Describes the mirror again and again, and shows it once it is as it should be.
    async fn until(
        &self,
        stage: &mut Stage,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<(), CliError> {
        let path = format!("/links/{LINK}/mirrors/{TOPIC}");
        let at = &self.destination;
        self.ui.say(&screen::call("GET", at.end.name, &path, None));
        let began = Instant::now();
        loop {
            let (status, document) = self.ask(at, Method::GET, &path, None).await?;
            let is_there = status == StatusCode::OK && document.as_ref().is_some_and(&is_so);
            if is_there {
                let seconds = began.elapsed().as_secs_f64();
                self.ui.say(&format!("  … until {what}, {seconds:.1} s"));
                self.ui.say(&screen::answer(status, document.as_ref()));
                return Ok(());
            }
            if let Some(error) = stage.worker_ended().await {
                return Err(error);
            }
            if began.elapsed() > PATIENCE {
                self.ui.say(&screen::answer(status, document.as_ref()));
                let seconds = PATIENCE.as_secs();
                return Err(wrong(&format!("not so after {seconds} seconds: {what}")));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn copy(&self, stage: &mut Stage) -> Result<(), CliError> {
        self.title("Produce 1 to 5 at the source, with librdkafka");
        client::write(&self.source.end, TOPIC, 1..=5).await?;
        self.ui.say("  1 2 3 4 5");
        self.title("Consume them at the destination, with librdkafka");
        self.read(5).await?;
        self.title(
            "Ask for the lag: last_source_fetch_offset is that of the last record, counted from 0",
        );
        self.until(stage, "the worker has stored how far it is", |mirror| {
            let lags = &mirror["mirror_lags"][0];
            lags["lag"] == 0 && lags["last_source_fetch_offset"] == 4
        })
        .await
    }

    /// Reads the topic at the destination from its start.
    async fn read(&self, count: u64) -> Result<(), CliError> {
        let values = client::read(&self.destination.end, TOPIC, count).await?;
        let line = format!("  {}", values.join(" "));
        self.ui.say(&self.ui.paint_err(Style::Green, &line));
        let wanted: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
        if values == wanted {
            Ok(())
        } else {
            Err(wrong(&format!(
                "1 to {count} were expected, in order, and nothing else"
            )))
        }
    }

    async fn promote(&self, stage: &mut Stage) -> Result<(), CliError> {
        let at = &self.destination;
        self.title("Promote the mirror topic");
        let body = json!({"mirror_topic_names": [TOPIC]});
        let path = format!("/links/{LINK}/mirrors:promote");
        let answer = self.post(at, &path, body, StatusCode::OK).await?;
        // What is refused for a topic stands in an answer of status 200.
        expect(&answer["data"][0]["error_code"], Value::Null)?;
        self.title("The worker carries it out: ask until it is STOPPED");
        self.until(stage, "it is STOPPED", |mirror| {
            mirror["mirror_status"] == "STOPPED"
        })
        .await
    }

    async fn write_natively(&self) -> Result<(), CliError> {
        self.title("It is an ordinary topic now: produce 6 to it at the destination, and read it");
        client::write(&self.destination.end, TOPIC, 6..=6).await?;
        self.read(6).await
    }

    async fn clean_up(&self) -> Result<(), CliError> {
        let at = &self.destination;
        self.title("Delete the topic at the destination, then the link");
        self.delete(at, &format!("/topics/{TOPIC}")).await?;
        self.delete(at, &format!("/links/{LINK}")).await?;
        let left = self.get(at, "/links").await?;
        expect(&left["data"], json!([]))
    }

    /// The replicas, as `kmirror replica status` shows them.
    async fn replicas(&self) -> Result<(), CliError> {
        self.title("kmirror replica status demo.toml --include-linked");
        let clusters = Clusters::connect_to_plan(&self.topology).await?;
        let found = gather(&self.topology, &clusters).await;
        if let Some((cluster, why)) = found.unknown.first() {
            return Err(wrong(&format!("cluster {cluster}: {why}")));
        }
        let rows = super::super::replica::rows(&found, &clusters, &[], true).await?;
        self.ui.say(inventory::replicas(&rows).trim_end());
        // Of the mirror and of its source.
        if rows.len() == 2 {
            Ok(())
        } else {
            Err(wrong("there should be two replicas"))
        }
    }

    /// What can be done while everything stays up.
    fn commands(&self, stage: &Stage) -> Result<String, CliError> {
        let folder = stage.write_commands(&self.new_link())?;
        let folder = folder.display();
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "kmirror".to_owned());
        let variables = self.variables().replace("  $ ", "  ");
        Ok(format!(
            r#"
Brokers, server and worker stay up until Ctrl-C, and the topic at the source still holds 1 to 5. Link it again, in another terminal:

{variables}
  curl -si "$destination/links?link_name={LINK}" -H "$json" -d @{folder}/link.json
  curl -si "$destination/links/{LINK}/mirrors" -H "$json" -d '{{"source_topic_name": "{TOPIC}"}}'
  seq 6 10 | kcat -F {folder}/source.kcat -P -t {TOPIC}
  kcat -F {folder}/destination.kcat -C -t {TOPIC} -c 10
  {program} link describe {folder}/demo.toml {LINK}
  {program} mirror list {folder}/demo.toml
  {program} replica status {folder}/demo.toml {TOPIC} --include-linked

Kafka's own tools come in with --command-config {folder}/source.properties, or destination.properties."#
        ))
    }
}

/// Fails where an answer says something else.
fn expect(found: &Value, wanted: impl Into<Value>) -> Result<(), CliError> {
    let wanted = wanted.into();
    if *found == wanted {
        Ok(())
    } else {
        Err(wrong(&format!(
            "{wanted} was expected in it, and it is {found}"
        )))
    }
}

fn next() -> String {
    "
What to try next:
  kmirror demo cluster-linking --keep
      leaves all of it up, and says how to go on with curl and kcat
  kmirror serve FILE --http CLUSTER=127.0.0.1:8090
      the same API in front of clusters of yours; see docs/rest-api.md
  kmirror run FILE
      the worker that carries its links; see docs/link-configs.md for what they can be told
  engine = \"cluster-link\" in a file
      links that brokers of Confluent Platform or Cloud carry; see docs/cluster-linking.md"
        .to_owned()
}
