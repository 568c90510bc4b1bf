//! The cluster and how to reach it: `KAFKA_*` variables, read once at the edge.

#[cfg(test)]
mod tests;

use std::{fmt, fs::File, path::PathBuf, str::FromStr};

use rdkafka::ClientConfig;

/// The most partitions of a topic.
pub const MOST_PARTITIONS: i32 = 1_000;
/// The longest prefix of topics. Kafka takes names of 249 characters.
const PREFIX_CHARACTERS: usize = 200;

/// Every variable that is read, and what it means.
pub const VARIABLES: &[(&str, &str)] = &[
    ("KAFKA_BROKERS", "the brokers to ask first, host:port with commas between; not set: no Kafka"),
    ("KAFKA_TOPIC_PREFIX", "topics are <prefix>.<category>; merx where it is not set"),
    ("KAFKA_PARTITIONS", "partitions of each topic, 1 to 1000, fixed once the log has been published; 12 where it is not set"),
    ("KAFKA_REPLICATION_FACTOR", "replicas of topics that are made; the broker's own choice where it is not set"),
    ("KAFKA_SECURITY_PROTOCOL", "plaintext, ssl, sasl_plaintext or sasl_ssl; plaintext where it is not set"),
    ("KAFKA_SASL_MECHANISM", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
    ("KAFKA_SASL_USERNAME", "who we are, with sasl_plaintext and sasl_ssl"),
    ("KAFKA_SASL_PASSWORD", "its password"),
    ("KAFKA_SSL_CA_LOCATION", "a PEM file of the authorities that brokers' certificates come from; the system's where it is not set"),
    ("KAFKA_SSL_CERTIFICATE_LOCATION", "a PEM file of the certificate that we show"),
    ("KAFKA_SSL_KEY_LOCATION", "a PEM file of its key"),
    ("KAFKA_SSL_KEY_PASSWORD", "the password of that key"),
];

/// A value of a variable that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong and how to mend it; goes on from the variable's name.
    pub detail: String,
}

/// Values of variables that can't be used, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub Vec<Fault>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, Fault { variable, detail }) in self.0.iter().enumerate() {
            let between = if nth == 0 { "" } else { "; " };
            write!(f, "{between}{variable} {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How connections are secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Protocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    const ALL: [(&str, Self); 4] =
        [("plaintext", Self::Plaintext), ("ssl", Self::Ssl), ("sasl_plaintext", Self::SaslPlaintext), ("sasl_ssl", Self::SaslSsl)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, protocol)| *protocol == self).map_or("plaintext", |(name, _)| name)
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    fn has_ssl(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sasl {
    mechanism: &'static str,
    username: String,
    password: Secret,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ssl {
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    key_password: Option<Secret>,
}

/// Which cluster, which topics, and how to reach them. Printing it shows no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The brokers to ask first, with commas between.
    pub brokers: String,
    /// Topics are `<prefix>.<category>`.
    pub prefix: String,
    /// How many partitions of each topic are used.
    pub partitions: i32,
    /// How many replicas topics have that are made; the broker's own choice where it is none.
    pub replication_factor: Option<i32>,
    protocol: Protocol,
    sasl: Option<Sasl>,
    ssl: Ssl,
}

impl Settings {
    /// Those for a cluster without passwords or encryption; the rest as by default.
    #[must_use]
    pub fn plaintext(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            prefix: "merx".into(),
            partitions: 12,
            replication_factor: None,
            protocol: Protocol::Plaintext,
            sasl: None,
            ssl: Ssl::default(),
        }
    }

    /// The same with topics that begin otherwise.
    #[must_use]
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// The same with another number of partitions.
    #[must_use]
    pub fn with_partitions(self, partitions: i32) -> Self {
        Self { partitions, ..self }
    }

    /// What the variables say that `lookup` knows: none where `KAFKA_BROKERS` is not set. An empty variable is as one that is not set.
    ///
    /// # Errors
    /// Values that can't be used, each with its variable.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let mut reader = Reader { lookup, faults: Vec::new() };
        let Some(brokers) = reader.text("KAFKA_BROKERS") else { return Ok(None) };
        if let Some(detail) = wrong_brokers(&brokers) {
            reader.fault("KAFKA_BROKERS", detail);
        }
        let prefix = reader.text("KAFKA_TOPIC_PREFIX").unwrap_or_else(|| "merx".into());
        if let Some(detail) = wrong_prefix(&prefix) {
            reader.fault("KAFKA_TOPIC_PREFIX", detail);
        }
        let partitions = reader.number("KAFKA_PARTITIONS", MOST_PARTITIONS).unwrap_or(12);
        let replication_factor = reader.number("KAFKA_REPLICATION_FACTOR", i32::from(i16::MAX));
        let protocol = reader.protocol();
        let (sasl, tls) = (reader.sasl(protocol), reader.ssl(protocol));
        if reader.faults.is_empty() {
            Ok(Some(Self { brokers, prefix, partitions, replication_factor, protocol, sasl, ssl: tls }))
        } else {
            Err(Error(reader.faults))
        }
    }

    /// What every client of the cluster is made with.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "merx")
            .set("security.protocol", self.protocol.name())
            // A topic that a broker makes by itself has whatever number of partitions.
            .set("allow.auto.create.topics", "false")
            .set("socket.keepalive.enable", "true")
            // A broker that is back is found within a second.
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false");
        if let Some(Sasl { mechanism, username, password }) = &self.sasl {
            config.set("sasl.mechanism", *mechanism).set("sasl.username", username).set("sasl.password", &password.0);
        }
        let Ssl { authorities, certificate, key, key_password } = &self.ssl;
        for (name, path) in [("ssl.ca.location", authorities), ("ssl.certificate.location", certificate), ("ssl.key.location", key)] {
            if let Some(path) = path {
                config.set(name, path.to_string_lossy());
            }
        }
        if let Some(Secret(password)) = key_password {
            config.set("ssl.key.password", password);
        }
        config
    }

    /// The consumer group of a projection.
    #[must_use]
    pub fn projection_group(&self, projection: &str) -> String {
        format!("{}.projection.{projection}", self.prefix)
    }
}

/// What is wrong with a list of brokers, if anything.
fn wrong_brokers(brokers: &str) -> Option<String> {
    let wrong = |broker: &&str| {
        let (host, port) = match broker.rsplit_once(':') {
            // An address of IPv6 has colons of its own, and stands in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (*broker, None),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
        let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        !(bracketed || named) || port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    let broker = brokers.split(',').map(str::trim).find(wrong)?;
    Some(format!("has {broker:?}, which is no broker: give host:port, with commas between several, as in \"kafka-1:9092,kafka-2:9092\""))
}

/// What is wrong with the prefix of topics, if anything.
fn wrong_prefix(prefix: &str) -> Option<String> {
    let fits = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) && prefix.len() <= PREFIX_CHARACTERS;
    (!fits).then(|| format!("is {prefix:?}: give letters, digits, '.', '_' and '-', at most {PREFIX_CHARACTERS}, as in \"merx\""))
}

/// Reads variables and collects what is wrong with them.
struct Reader<L> {
    lookup: L,
    faults: Vec<Fault>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    fn text(&self, variable: &'static str) -> Option<String> {
        (self.lookup)(variable).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn fault(&mut self, variable: &'static str, detail: impl Into<String>) {
        self.faults.push(Fault { variable, detail: detail.into() });
    }

    fn number(&mut self, variable: &'static str, most: i32) -> Option<i32> {
        let text = self.text(variable)?;
        let number = i32::from_str(&text).ok().filter(|number| (1..=most).contains(number));
        if number.is_none() {
            self.fault(variable, format!("is {text:?}: give a number from 1 to {most}"));
        }
        number
    }

    fn protocol(&mut self) -> Protocol {
        let variable = "KAFKA_SECURITY_PROTOCOL";
        let Some(text) = self.text(variable) else { return Protocol::default() };
        let found = Protocol::ALL.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        if found.is_none() {
            self.fault(variable, format!("is {text:?}: give plaintext, ssl, sasl_plaintext or sasl_ssl"));
        }
        found.map_or_else(Protocol::default, |(_, protocol)| *protocol)
    }

    fn sasl(&mut self, protocol: Protocol) -> Option<Sasl> {
        let variables = ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"];
        if !protocol.has_sasl() {
            self.useless(&variables, "set KAFKA_SECURITY_PROTOCOL to sasl_ssl (or sasl_plaintext), or leave it out");
            return None;
        }
        let [mechanism, username, password] = variables.map(|variable| self.text(variable));
        for (variable, text) in variables.iter().zip([&mechanism, &username, &password]) {
            if text.is_none() {
                self.fault(variable, format!("is missing, and KAFKA_SECURITY_PROTOCOL {} needs it", protocol.name()));
            }
        }
        let mechanism = mechanism?;
        let known = MECHANISMS.into_iter().find(|known| mechanism.eq_ignore_ascii_case(known));
        if known.is_none() {
            self.fault(variables[0], format!("is {mechanism:?}: give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"));
        }
        Some(Sasl { mechanism: known?, username: username?, password: Secret(password?) })
    }

    fn ssl(&mut self, protocol: Protocol) -> Ssl {
        let variables = ["KAFKA_SSL_CA_LOCATION", "KAFKA_SSL_CERTIFICATE_LOCATION", "KAFKA_SSL_KEY_LOCATION", "KAFKA_SSL_KEY_PASSWORD"];
        if !protocol.has_ssl() {
            self.useless(&variables, "set KAFKA_SECURITY_PROTOCOL to ssl or sasl_ssl, or leave it out");
            return Ssl::default();
        }
        let [authorities, certificate, key] = [variables[0], variables[1], variables[2]].map(|variable| self.file(variable));
        let key_password = self.text(variables[3]).map(Secret);
        if certificate.is_some() && key.is_none() {
            self.fault(variables[2], "is missing: a certificate is shown with its key");
        }
        if certificate.is_none() && key.is_some() {
            self.fault(variables[1], "is missing: a key goes with its certificate");
        }
        if key.is_none() && key_password.is_some() {
            self.fault(variables[3], "is the password of no key: set KAFKA_SSL_KEY_LOCATION, or leave it out");
        }
        Ssl { authorities, certificate, key, key_password }
    }

    /// The file that `variable` names, which must be there to be read.
    fn file(&mut self, variable: &'static str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(variable)?);
        let unreadable = match File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_dir() => Some("a folder".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = unreadable {
            self.fault(variable, format!("names {}, which can't be read ({why}): give the path of a PEM file", path.display()));
        }
        Some(path)
    }

    /// Variables that are set, but would not be looked at.
    fn useless(&mut self, variables: &[&'static str], how: &str) {
        for variable in variables {
            if self.text(variable).is_some() {
                self.fault(variable, format!("is set, but connections would not use it: {how}"));
            }
        }
    }
}
