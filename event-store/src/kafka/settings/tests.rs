use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, Error> {
    for (name, _) in variables {
        assert!(VARIABLES.iter().any(|(known, _)| known == name), "{name} is not listed");
    }
    Settings::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    read(variables).unwrap().unwrap()
}

/// What is said of `variables`, with brokers that are right.
fn faults(variables: &[(&str, &str)]) -> Vec<String> {
    let mut all = vec![("KAFKA_BROKERS", "kafka:9092")];
    all.retain(|(name, _)| !variables.iter().any(|(other, _)| other == name));
    all.extend(variables);
    let Err(Error(faults)) = read(&all) else { panic!("{variables:?} were taken") };
    faults.iter().map(|fault| Error(vec![fault.clone()]).to_string()).collect()
}

#[test]
fn without_brokers_there_is_no_kafka() {
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[("KAFKA_BROKERS", "  "), ("KAFKA_PARTITIONS", "none")]), Ok(None), "nothing else matters then");
}

#[test]
fn brokers_alone_are_enough() {
    let read = settings(&[("KAFKA_BROKERS", " kafka-1:9092, kafka_2.example:9093,[::1]:9092,plain ")]);
    assert_eq!(read, Settings::plaintext("kafka-1:9092, kafka_2.example:9093,[::1]:9092,plain"));
    assert_eq!((read.prefix.as_str(), read.partitions, read.replication_factor), ("merx", 12, None));
    let config = read.client_config();
    assert_eq!(config.get("bootstrap.servers"), Some(read.brokers.as_str()));
    assert_eq!(config.get("security.protocol"), Some("plaintext"));
    assert_eq!(config.get("sasl.mechanism"), None);
    assert!(config.create_native_config().is_ok());
}

#[test]
fn everything_may_be_chosen_and_passwords_are_not_printed() {
    let folder = std::env::temp_dir().join(format!("merx-kafka-settings-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let files = ["ca.pem", "own.pem", "own.key"].map(|name| folder.join(name).to_string_lossy().into_owned());
    for file in &files {
        std::fs::write(file, "-").unwrap();
    }
    let read = settings(&[
        ("KAFKA_BROKERS", "kafka:9092"),
        ("KAFKA_TOPIC_PREFIX", "eu.shop-1_a"),
        ("KAFKA_PARTITIONS", "1000"),
        ("KAFKA_REPLICATION_FACTOR", "3"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("KAFKA_SASL_MECHANISM", "scram-sha-512"),
        ("KAFKA_SASL_USERNAME", "merx"),
        ("KAFKA_SASL_PASSWORD", "swordfish"),
        ("KAFKA_SSL_CA_LOCATION", &files[0]),
        ("KAFKA_SSL_CERTIFICATE_LOCATION", &files[1]),
        ("KAFKA_SSL_KEY_LOCATION", &files[2]),
        ("KAFKA_SSL_KEY_PASSWORD", "open sesame"),
    ]);
    assert_eq!((read.prefix.as_str(), read.partitions, read.replication_factor), ("eu.shop-1_a", 1_000, Some(3)));
    assert_eq!(read.projection_group("orders"), "eu.shop-1_a.projection.orders");
    let config = read.client_config();
    for (name, value) in [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "merx"),
        ("sasl.password", "swordfish"),
        ("ssl.ca.location", &files[0]),
        ("ssl.certificate.location", &files[1]),
        ("ssl.key.location", &files[2]),
        ("ssl.key.password", "open sesame"),
    ] {
        assert_eq!(config.get(name), Some(value), "{name}");
    }
    assert!(config.create_native_config().is_ok());
    let printed = format!("{read:?}{config:?}");
    assert!(!printed.contains("swordfish") && !printed.contains("sesame"), "{printed}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn each_wrong_value_is_named_with_what_to_do() {
    for brokers in
        ["kafka:9092,,other:9092", "kafka:", "kafka:port", "kafka:0", "kafka:70000", "PLAINTEXT://kafka:9092", "ka fka:9092", ":9092"]
    {
        let told = faults(&[("KAFKA_BROKERS", brokers)]);
        assert!(told.len() == 1 && told[0].starts_with("KAFKA_BROKERS has \"") && told[0].contains("host:port"), "{told:?}");
    }
    assert_eq!(faults(&[("KAFKA_PARTITIONS", "0")]), ["KAFKA_PARTITIONS is \"0\": give a number from 1 to 1000"]);
    assert_eq!(faults(&[("KAFKA_PARTITIONS", "twelve")]), ["KAFKA_PARTITIONS is \"twelve\": give a number from 1 to 1000"]);
    assert_eq!(faults(&[("KAFKA_REPLICATION_FACTOR", "-1")]), ["KAFKA_REPLICATION_FACTOR is \"-1\": give a number from 1 to 32767"]);
    assert!(faults(&[("KAFKA_TOPIC_PREFIX", "a b")])[0].starts_with("KAFKA_TOPIC_PREFIX is \"a b\": give letters"));
    assert!(faults(&[("KAFKA_TOPIC_PREFIX", &"x".repeat(201))])[0].contains("at most 200"));
    assert_eq!(
        faults(&[("KAFKA_SECURITY_PROTOCOL", "tls")]),
        ["KAFKA_SECURITY_PROTOCOL is \"tls\": give plaintext, ssl, sasl_plaintext or sasl_ssl"]
    );
}

#[test]
fn what_goes_together_is_asked_for_together() {
    assert_eq!(
        faults(&[("KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"), ("KAFKA_SASL_MECHANISM", "GSSAPI")]),
        [
            "KAFKA_SASL_USERNAME is missing, and KAFKA_SECURITY_PROTOCOL sasl_plaintext needs it",
            "KAFKA_SASL_PASSWORD is missing, and KAFKA_SECURITY_PROTOCOL sasl_plaintext needs it",
            "KAFKA_SASL_MECHANISM is \"GSSAPI\": give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
        ]
    );
    assert_eq!(
        faults(&[("KAFKA_SASL_PASSWORD", "x")]),
        ["KAFKA_SASL_PASSWORD is set, but connections would not use it: \
          set KAFKA_SECURITY_PROTOCOL to sasl_ssl (or sasl_plaintext), or leave it out"]
    );
    assert_eq!(
        faults(&[("KAFKA_SSL_CA_LOCATION", "/ca.pem")]),
        ["KAFKA_SSL_CA_LOCATION is set, but connections would not use it: set KAFKA_SECURITY_PROTOCOL to ssl or sasl_ssl, or leave it out"]
    );
    let told =
        faults(&[("KAFKA_SECURITY_PROTOCOL", "ssl"), ("KAFKA_SSL_CERTIFICATE_LOCATION", "/no/such.pem"), ("KAFKA_SSL_KEY_PASSWORD", "x")]);
    assert!(told[0].starts_with("KAFKA_SSL_CERTIFICATE_LOCATION names /no/such.pem, which can't be read ("), "{told:?}");
    assert_eq!(told[1], "KAFKA_SSL_KEY_LOCATION is missing: a certificate is shown with its key");
    assert!(told[2].starts_with("KAFKA_SSL_KEY_PASSWORD is the password of no key"), "{told:?}");
    let several = read(&[("KAFKA_BROKERS", "x:y"), ("KAFKA_PARTITIONS", "0")]).unwrap_err();
    assert!(several.to_string().contains("; KAFKA_PARTITIONS is"), "{several}");
}
