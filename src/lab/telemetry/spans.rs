//! Where the spans of a store go: to standard error, to a collector that speaks OTLP (Jaeger does), or nowhere, which costs next to nothing.
//!
//! A process that is killed takes with it what it has not sent yet: at most the spans of the last half second.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// Who wants to have the spans.
#[derive(Clone, Default, Debug)]
pub struct Tracing {
    /// Each is printed to standard error when it ends.
    pub print: bool,
    /// The address of a collector: `http://localhost:4318`.
    pub otlp: Option<String>,
    /// The name under which it shows them.
    pub service: String,
}

impl Tracing {
    /// Whether it can be done.
    ///
    /// # Errors
    /// An address that is none, and a build that has no exporter.
    pub fn check(&self) -> anyhow::Result<()> {
        self.otlp.iter().try_for_each(|url| export::endpoint(url).map(drop))
    }
}

/// Sends the spans of this process there, until what it gives is dropped: then what is left is sent.
///
/// # Errors
/// An address that is none, and a build that has no exporter.
pub fn trace(wanted: &Tracing) -> anyhow::Result<impl Drop + use<>> {
    let (exported, exporter) = match &wanted.otlp {
        Some(url) => export::layer(url, &wanted.service)
            .map(|(layer, exporter)| (Some(layer), Some(exporter)))?,
        None => (None, None),
    };
    // What went wrong is always told; the exporter says in events when it cannot send.
    let own = if wanted.print { LevelFilter::TRACE } else { LevelFilter::ERROR };
    let printed =
        Targets::new().with_target("aries", own).with_target("opentelemetry", LevelFilter::WARN);
    let printer =
        fmt::layer().with_writer(io::stderr).with_span_events(FmtSpan::CLOSE).with_target(false);
    let exported = exported
        .map(|layer| layer.with_filter(Targets::new().with_target("aries", LevelFilter::TRACE)));
    tracing_subscriber::registry().with(exported).with(printer.with_filter(printed)).try_init()?;
    Ok(Sending(exporter))
}

/// Sends what is left when it is dropped.
struct Sending(Option<export::Exporter>);

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(exporter) = self.0.take() {
            exporter.finish();
        }
    }
}

#[cfg(feature = "otlp")]
mod export {
    use std::time::Duration;

    use axum::http::Uri;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Tracer,
    };
    use tracing::Subscriber;
    use tracing_opentelemetry::OpenTelemetryLayer;
    use tracing_subscriber::registry::LookupSpan;

    /// A crash should not take more than this with it.
    const DELAY: Duration = Duration::from_millis(500);

    pub struct Exporter(SdkTracerProvider);

    impl Exporter {
        pub fn finish(self) {
            let _ = self.0.shutdown(); // What it could not send it has said.
        }
    }

    /// The custom is to give the address without the path that all collectors have.
    pub fn endpoint(url: &str) -> anyhow::Result<String> {
        let uri: Uri = url.parse()?;
        anyhow::ensure!(
            uri.scheme_str() == Some("http") && uri.host().is_some(),
            "{url} is no address of a collector: http://localhost:4318, say"
        );
        Ok(match uri.path() {
            "" | "/" => format!("{}/v1/traces", url.trim_end_matches('/')),
            _ => url.to_owned(),
        })
    }

    // Not within tokio: the exporter's client waits, in a thread of its own.
    pub fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(
        url: &str,
        service: &str,
    ) -> anyhow::Result<(OpenTelemetryLayer<S, Tracer>, Exporter)> {
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        let exporter = exporter.with_endpoint(endpoint(url)?).build()?;
        let batches = BatchConfigBuilder::default().with_scheduled_delay(DELAY).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let resource = Resource::builder().with_service_name(service.to_owned()).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource)
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("aries"));
        Ok((layer, Exporter(provider)))
    }
}

#[cfg(not(feature = "otlp"))]
mod export {
    use tracing_subscriber::layer::Identity;

    pub enum Exporter {}

    impl Exporter {
        pub fn finish(self) {
            match self {}
        }
    }

    pub fn layer(url: &str, _service: &str) -> anyhow::Result<(Identity, Exporter)> {
        Err(endpoint(url).expect_err("there is no exporter"))
    }

    pub fn endpoint(_url: &str) -> anyhow::Result<String> {
        anyhow::bail!(
            "this program was built without the exporter: cargo run --release --features otlp -- lab --otlp URL"
        )
    }
}
