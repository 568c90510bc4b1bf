//! `compose.yaml`: validators take it, and the processes that it names make a shop together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use futures::future::join_all;
use serde_yaml_ng::Value;

use crate::{
    client::Client,
    database::{Database, skipped},
    kafka,
    search::double::Double,
    server::{Launch, Server, merx},
    shop::{buy, money, product, room_for, settled, stock_becomes, unique},
};

/// What somebody has to think up before the first start.
const SECRETS: [(&str, &str); 4] = [
    ("POSTGRES_PASSWORD", "a1"),
    ("MERX_DATABASE_PASSWORD", "b2"),
    ("MERX_ADMIN_KEY", "test-key"),
    ("MEILI_MASTER_KEY", "c3c3c3c3c3c3c3c3"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// A service, with the secrets in their places.
struct Service {
    name: String,
    image: String,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    replicas: u64,
    ports: Vec<String>,
}

fn services() -> Vec<Service> {
    let text = std::fs::read_to_string(root().join("compose.yaml")).expect("compose.yaml");
    let mut file: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    file.apply_merge().expect("its merges");
    let all = file["services"].as_mapping().expect("services");
    all.iter().map(|(name, service)| read(name.as_str().expect("a name"), service)).collect()
}

fn read(name: &str, service: &Value) -> Service {
    let text = |value: &Value| match value {
        Value::String(text) => with_secrets(text),
        Value::Number(number) => number.to_string(),
        other => panic!("{name}: {other:?} is no text"),
    };
    let environment = service["environment"].as_mapping().into_iter().flatten();
    Service {
        name: name.to_owned(),
        image: text(&service["image"]),
        command: service["command"].as_sequence().into_iter().flatten().map(text).collect(),
        environment: environment.map(|(name, value)| (text(name), text(value))).collect(),
        replicas: service["deploy"]["replicas"].as_u64().unwrap_or(1),
        ports: service["ports"].as_sequence().into_iter().flatten().map(text).collect(),
    }
}

/// What compose makes of `${NAME:?why}`.
fn with_secrets(text: &str) -> String {
    let filled = SECRETS.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}:?set it}}"), value));
    assert!(!filled.contains('$'), "{filled} has a variable that this test does not know");
    filled
}

fn service<'s>(services: &'s [Service], name: &str) -> &'s Service {
    services.iter().find(|service| service.name == name).unwrap_or_else(|| panic!("no service {name}"))
}

/// `docker compose`, or `docker-compose` of older days. Neither asks a daemon for `config`.
fn docker_compose() -> Option<Command> {
    let works = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if works(Command::new("docker").args(["compose", "version"])) {
        let mut command = Command::new("docker");
        command.arg("compose");
        return Some(command);
    }
    works(Command::new("docker-compose").arg("version")).then(|| Command::new("docker-compose"))
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn docker_compose_takes_it_once_every_secret_is_set() {
    let configured = |left_out: Option<&str>| {
        let mut command = docker_compose()?;
        for (name, value) in SECRETS {
            command.env_remove(name);
            if left_out != Some(name) {
                command.env(name, value);
            }
        }
        Some(command.arg("--file").arg(root().join("compose.yaml")).arg("config").current_dir(root()).output().expect("docker-compose"))
    };
    let Some(output) = configured(None) else { return skipped("docker-compose") };
    assert!(output.status.success(), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("postgres://merx:b2@postgres:5432/merx"), "{}", told(&output));
    for (name, _) in SECRETS {
        let output = configured(Some(name)).expect("docker-compose");
        assert!(!output.status.success() && told(&output).contains("set it"), "without {name}: {}", told(&output));
    }
}

#[test]
fn the_schema_of_compose_files_takes_it() {
    let Some(python) = std::env::var_os("MERX_TEST_PYTHON") else { return skipped("MERX_TEST_PYTHON") };
    let check = |path: &Path| {
        let arguments = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"];
        Command::new(&python).args(arguments).arg(path).output().expect("check-jsonschema")
    };
    let path = root().join("compose.yaml");
    let output = check(&path);
    assert!(output.status.success(), "{}", told(&output));
    let broken = std::fs::read_to_string(path).expect("compose.yaml").replace("healthcheck:", "heltcheck:");
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    std::fs::write(file.path(), broken).expect("the file");
    let output = check(file.path());
    assert!(!output.status.success() && told(&output).contains("heltcheck"), "{}", told(&output));
}

#[test]
fn it_runs_every_role_and_the_kafka_that_is_tested_and_has_no_secret() {
    let services = services();
    let of_merx: Vec<_> = services.iter().filter(|service| service.image == "merx").collect();
    let roles: BTreeMap<_, _> = of_merx.iter().map(|service| (role(service), service.replicas)).collect();
    let help = merx(&["serve", "--help"]).output().expect("merx");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let known: BTreeSet<_> = help
        .split("--role <ROLE>")
        .nth(1)
        .and_then(|rest| rest.split("\n      --").next())
        .into_iter()
        .flat_map(|part| part.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split(':').next()))
        .map(str::to_owned)
        .collect();
    assert_eq!(roles.keys().cloned().collect::<BTreeSet<_>>(), known, "{help}");
    for role in ["command-api", "query-api", "projector"] {
        assert_eq!(roles[role], 2, "{role}");
    }
    let script = std::fs::read_to_string(root().join("script/kafka")).expect("script/kafka");
    let version = script.lines().find_map(|line| line.strip_prefix("kafka_version=")).expect("Kafka's version");
    assert_eq!(service(&services, "kafka").image, format!("apache/kafka:{version}"), "script/kafka starts another version");
    // A secret comes from outside: what stands in the file is what to do without it.
    let text = std::fs::read_to_string(root().join("compose.yaml")).expect("compose.yaml");
    let assigned = text.lines().filter_map(|line| line.trim().split_once(": "));
    for (name, value) in assigned.filter(|(name, _)| ["PASSWORD", "KEY", "SECRET", "TOKEN"].iter().any(|word| name.ends_with(word))) {
        assert!(value.starts_with("${") && value.ends_with(":?set it}"), "{name}: {value}");
    }
}

#[test]
fn any_number_of_each_role_can_run_behind_one_port_and_the_shop_is_no_superuser() {
    let services = services();
    let (of_merx, others): (Vec<_>, Vec<_>) = services.iter().partition(|service| service.image == "merx");
    for service in &of_merx {
        assert_eq!(service.ports, Vec::<String>::new(), "{} can't be scaled: a port of the host is one container's", service.name);
    }
    let published: Vec<_> = others.iter().flat_map(|service| &service.ports).collect();
    assert_eq!(published, ["127.0.0.1:8080:8080"]);
    let mounted = |name: &str| std::fs::read_to_string(root().join("deploy").join(name)).expect("a file that compose.yaml mounts");
    let (proxy, role) = (mounted("haproxy.cfg"), mounted("postgres-role.sh"));
    for service in ["command-api", "query-api"] {
        assert!(proxy.contains(&format!("server-template {service} 20 {service}:8080 check")), "{proxy}");
    }
    let superuser = &service_environment(&services, "postgres")["POSTGRES_USER"];
    for service in &of_merx {
        assert!(!service.environment["DATABASE_URL"].starts_with(&format!("postgres://{superuser}:")), "{}", service.name);
    }
    assert!(role.contains("create role merx login nosuperuser nocreatedb nocreaterole"), "{role}");
}

#[tokio::test]
async fn an_ordinary_role_that_owns_its_database_is_enough_for_a_shop() {
    let Some(database) = Database::create().await else { return };
    let _room = room_for(1).await;
    let (role, mut connection) = (unique("merx_role").replace('-', "_"), database.connect().await);
    let name: String = sqlx::query_scalar("select current_database()::text").fetch_one(&mut connection).await.expect("its name");
    let run = async |connection: &mut sqlx::PgConnection, statement: String| {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(connection).await.expect("a statement");
    };
    run(&mut connection, format!("create role {role} login nosuperuser nocreatedb nocreaterole noreplication password 'b2'")).await;
    run(&mut connection, format!("alter database {name} owner to {role}")).await;
    // Whatever the server asks of others, this role it takes as it comes: the connection is told to act as it.
    let separator = if database.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}options=-c%20role%3D{role}", database.url);
    let server = Server::start(Launch::on_database(&url)).await;
    let client = server.client();
    let sku = product(&client, "2.50", 5).await;
    let order = buy(&client, &[(&sku, 2)], "tok_ok").await.expect(201).id();
    assert_eq!(settled(&client, &order).await["status"], "confirmed");
    let owner: String = sqlx::query_scalar("select tableowner::text from pg_tables where tablename = 'events'")
        .fetch_one(&mut connection)
        .await
        .expect("the owner");
    assert_eq!(owner, role, "it was made by somebody else");
    drop(server);
    run(&mut connection, format!("reassign owned by {role} to current_user")).await;
    run(&mut connection, format!("drop owned by {role}")).await;
    run(&mut connection, format!("drop role {role}")).await;
}

fn role(service: &Service) -> String {
    let [command, option, role] = &service.command[..] else { panic!("{}: {:?}", service.name, service.command) };
    assert_eq!((command.as_str(), option.as_str()), ("serve", "--role"), "{}", service.name);
    role.clone()
}

/// What a container of this service would be, as a process: with its variables, but for where Postgres, Kafka and Meilisearch are.
fn launch(service: &Service, services: &[Service], database: &Database, brokers: &str, prefix: &str, meilisearch: &str) -> Launch {
    let postgres = &service_environment(services, "postgres");
    let url = format!("postgres://merx:{}@postgres:5432/merx", postgres["MERX_DATABASE_PASSWORD"]);
    let listeners = &service_environment(services, "kafka")["KAFKA_ADVERTISED_LISTENERS"];
    let (_, advertised) = listeners.split_once("://").expect("a listener");
    let mut launch = Launch { arguments: service.command[1..].to_vec(), ..Launch::default() };
    for (name, value) in &service.environment {
        let here = match name.as_str() {
            "DATABASE_URL" => {
                assert_eq!(*value, url, "{}", service.name);
                &database.url
            }
            "KAFKA_BROKERS" => {
                assert_eq!(value, advertised, "{}", service.name);
                brokers
            }
            "MEILI_URL" => {
                assert_eq!(value, "http://meilisearch:7700", "{}", service.name);
                meilisearch
            }
            _ => value,
        };
        launch = launch.set(name, here);
    }
    // Other tests use the same Kafka.
    launch.set("KAFKA_TOPIC_PREFIX", prefix)
}

fn service_environment(services: &[Service], name: &str) -> BTreeMap<String, String> {
    service(services, name).environment.clone()
}

#[tokio::test]
async fn the_same_roles_as_processes_with_the_same_variables_sell_something() {
    let Some(brokers) = kafka::brokers() else { return };
    let Some(database) = Database::create().await else { return };
    let _room = room_for(4).await;
    let (services, prefix) = (services(), unique("compose"));
    let of_merx = services.iter().filter(|service| service.image == "merx");
    let meilisearch = Double::start().await;
    // At once, on an empty database, as compose starts them.
    let starting = of_merx.flat_map(|service| {
        let launch = launch(service, &services, &database, &brokers, &prefix, &meilisearch.url);
        (0..service.replicas).map(move |_| {
            let (role, launch) = (role(service), launch.clone());
            async move { (role, Server::start(launch).await) }
        })
    });
    let running = join_all(starting).await;
    assert_eq!(running.len(), 9, "two command-apis, query-apis and projectors, and one of each other role");
    let clients =
        |wanted: &str| -> Vec<Client> { running.iter().filter(|(role, _)| role == wanted).map(|(_, server)| server.client()).collect() };
    let (writes, reads) = (clients("command-api"), clients("query-api"));
    let sku = product(&writes[0], "2.50", 5).await;
    let answer = buy(&writes[1], &[(&sku, 2)], "tok_ok").await.expect(201);
    let order = answer.id();
    let path = format!("/v1/orders/{order}");
    reads[0].get_at(&path, answer.position()).await.expect(200);
    for client in &reads {
        let settled = settled(client, &order).await;
        assert_eq!((settled.state(), &settled["payment"]["captured"]), ("confirmed", &money("5.00")), "{settled}");
        stock_becomes(client, &sku, 3, 0).await;
    }
    writes[0].get(&path).await.expect(404);
    for client in &reads {
        assert_eq!(client.get_at("/v1/search?q=product", answer.position()).await.expect(200)["total"], 1);
    }
    // It went over Kafka.
    let own: Vec<_> = kafka::everything(&brokers, &prefix).await.into_iter().filter(|message| message.key.ends_with(&order)).collect();
    let of_topic = |category: &str| -> Vec<&str> {
        own.iter().filter(|message| message.topic == format!("{prefix}.{category}")).map(|message| message.header("ce_type")).collect()
    };
    assert_eq!(of_topic("order"), ["OrderSubmitted", "OrderPlaced", "OrderConfirmed"]);
    assert_eq!(of_topic("payment"), ["PaymentRequested", "PaymentCaptured"]);
}
