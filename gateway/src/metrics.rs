//! Metrics in the text format of Prometheus.

use std::{sync::OnceLock, thread, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const SECONDS: [f64; 16] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
const SIZES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
const BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 16_777_216.0];
const UPKEEP: Duration = Duration::from_secs(5);

static INSTALLED: OnceLock<Handle> = OnceLock::new();

/// Reads what was measured.
#[derive(Clone)]
pub struct Handle(PrometheusHandle);

impl Handle {
    /// Everything measured so far, for `GET /metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }
}

/// Makes this process's metrics go to Prometheus; the second call gives the first one's handle.
///
/// Histograms whose names end in `_seconds`, `_size` or `_bytes` get buckets that fit.
pub fn install() -> Handle {
    INSTALLED.get_or_init(start).clone()
}

fn start() -> Handle {
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    if ::metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another metrics recorder is installed: /metrics will be empty");
    }
    describe();
    let upkeep = handle.clone();
    let kept = thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        loop {
            thread::sleep(UPKEEP);
            upkeep.run_upkeep(); // Samples pile up until somebody folds them into their buckets.
        }
    });
    if let Err(error) = kept {
        tracing::warn!(%error, "no thread for the upkeep of metrics");
    }
    Handle(handle)
}

fn builder() -> PrometheusBuilder {
    let buckets: [(&str, &[f64]); 3] = [("_seconds", &SECONDS), ("_size", &SIZES), ("_bytes", &BYTES)];
    buckets.into_iter().fold(PrometheusBuilder::new(), |builder, (suffix, values)| {
        builder.set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), values).unwrap_or_else(|_| PrometheusBuilder::new())
    })
}

fn describe() {
    ::metrics::describe_histogram!("merx_http_request_duration_seconds", "How long requests took, by method, route and status.");
    ::metrics::describe_counter!("merx_http_refusals_total", "Requests refused, by the problem's code.");
}
