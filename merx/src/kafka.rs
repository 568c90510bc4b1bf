//! The Kafka cluster that a server works with, from options and variables.

use event_store::kafka::{Settings, settings};

/// Where Kafka is and how to reach it. The same for every process of a shop.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Kafka")]
#[group(id = "kafka")] // the options it is part of have the name of this type, too
#[expect(clippy::struct_field_names, reason = "clap calls an option as its field is called, and they stand among others")]
pub struct Options {
    /// The brokers to ask first: host:port, with commas between. Without it there is no Kafka.
    #[arg(long, env = "KAFKA_BROKERS")]
    kafka_brokers: Option<String>,
    /// Topics are PREFIX.CATEGORY [default: merx]
    #[arg(long, env = "KAFKA_TOPIC_PREFIX", value_name = "PREFIX")]
    kafka_topic_prefix: Option<String>,
    /// How many partitions each topic has; fixed once the log has been published [default: 12]
    #[arg(long, env = "KAFKA_PARTITIONS", value_name = "NUMBER")]
    kafka_partitions: Option<String>,
    /// How many replicas topics have that are made [default: the broker's]
    #[arg(long, env = "KAFKA_REPLICATION_FACTOR", value_name = "NUMBER")]
    kafka_replication_factor: Option<String>,
    /// plaintext, ssl, sasl_plaintext or sasl_ssl [default: plaintext]
    #[arg(long, env = "KAFKA_SECURITY_PROTOCOL", value_name = "PROTOCOL")]
    kafka_security_protocol: Option<String>,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(long, env = "KAFKA_SASL_MECHANISM", value_name = "MECHANISM")]
    kafka_sasl_mechanism: Option<String>,
    /// Who we are.
    #[arg(long, env = "KAFKA_SASL_USERNAME", value_name = "NAME")]
    kafka_sasl_username: Option<String>,
    /// The password of that name; better given by the variable, which other users of the machine don't see.
    #[arg(long, env = "KAFKA_SASL_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    kafka_sasl_password: Option<String>,
    /// A PEM file of the authorities that the brokers' certificates come from [default: the system's]
    #[arg(long, env = "KAFKA_SSL_CA_LOCATION", value_name = "FILE")]
    kafka_ssl_ca_location: Option<String>,
    /// A PEM file of the certificate that we show.
    #[arg(long, env = "KAFKA_SSL_CERTIFICATE_LOCATION", value_name = "FILE")]
    kafka_ssl_certificate_location: Option<String>,
    /// A PEM file of its key.
    #[arg(long, env = "KAFKA_SSL_KEY_LOCATION", value_name = "FILE")]
    kafka_ssl_key_location: Option<String>,
    /// The password of that key; better given by the variable.
    #[arg(long, env = "KAFKA_SSL_KEY_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    kafka_ssl_key_password: Option<String>,
}

impl Options {
    /// The cluster; none where no brokers are named.
    pub fn settings(&self) -> Result<Option<Settings>, settings::Error> {
        Settings::read(|variable| {
            let value = match variable {
                "KAFKA_BROKERS" => &self.kafka_brokers,
                "KAFKA_TOPIC_PREFIX" => &self.kafka_topic_prefix,
                "KAFKA_PARTITIONS" => &self.kafka_partitions,
                "KAFKA_REPLICATION_FACTOR" => &self.kafka_replication_factor,
                "KAFKA_SECURITY_PROTOCOL" => &self.kafka_security_protocol,
                "KAFKA_SASL_MECHANISM" => &self.kafka_sasl_mechanism,
                "KAFKA_SASL_USERNAME" => &self.kafka_sasl_username,
                "KAFKA_SASL_PASSWORD" => &self.kafka_sasl_password,
                "KAFKA_SSL_CA_LOCATION" => &self.kafka_ssl_ca_location,
                "KAFKA_SSL_CERTIFICATE_LOCATION" => &self.kafka_ssl_certificate_location,
                "KAFKA_SSL_KEY_LOCATION" => &self.kafka_ssl_key_location,
                "KAFKA_SSL_KEY_PASSWORD" => &self.kafka_ssl_key_password,
                _ => &None,
            };
            value.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, CommandFactory as _};
    use event_store::kafka::settings::VARIABLES;

    use super::*;

    #[test]
    fn every_variable_is_an_option_that_is_read() {
        let command = Options::augment_args(clap::Command::new("kafka"));
        let known: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
        let read = std::cell::RefCell::new(Vec::new());
        let _ = Settings::read(|variable| {
            read.borrow_mut().push(variable.to_owned());
            Some(if variable == "KAFKA_SECURITY_PROTOCOL" { "sasl_ssl" } else { "x" }.into())
        });
        for (variable, _) in VARIABLES {
            assert!(known.contains(variable) && read.borrow().iter().any(|other| other == variable), "{variable}");
        }
        assert_eq!(known.len(), VARIABLES.len());
        crate::Arguments::command().debug_assert();
    }
}
