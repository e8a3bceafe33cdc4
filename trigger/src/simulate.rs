//! A simulated facility, for tests and drills: NERSC's Superfacility API 1.2 and the IRI Facility API from a scenario, over local
//! processes that really run. It is no facility, and says so; it knows nothing of rules, Kafka or the trigger.

mod door;
mod iri;
mod machine;
pub mod scenario;
mod sfapi;
#[cfg(test)]
mod tests;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::middleware;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::jwt::JwtError;
use scenario::Scenario;
use world::World;

/// Why a simulated facility does not begin.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A client's public key cannot be read.
    #[error("public key {} of client {client} cannot be read", path.display())]
    Unreadable {
        /// The client.
        client: String,
        /// Its key's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A client's public key is none.
    #[error("public key {} of client {client}", path.display())]
    NoKey {
        /// The client.
        client: String,
        /// Its key's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: JwtError,
    },
    /// Its address is taken.
    #[error("address {address} cannot be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// One that runs, until this is dropped; its jobs go on.
#[derive(Debug)]
pub struct Facility {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Facility {
    /// Starts one; its times begin now.
    ///
    /// # Errors
    /// When its keys cannot be read or its address is taken.
    pub async fn start(scenario: Scenario) -> Result<Self, SimulateError> {
        let listen = scenario.listen;
        let world = Arc::new(World::new(scenario)?);
        let failed = |source| SimulateError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let routes = sfapi::routes()
            .nest("/api/v1", iri::routes())
            .nest("/api/v2", iri::routes())
            .layer(middleware::from_fn_with_state(Arc::clone(&world), door::pass))
            .with_state(world);
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "simulated facility ended");
            }
        });
        Ok(Self { address, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The Superfacility API's address.
    pub fn sfapi(&self) -> String {
        format!("http://{}/api/v1.2", self.address)
    }

    /// Where tokens are given.
    pub fn token(&self) -> String {
        format!("http://{}/c2id/token", self.address)
    }

    /// The IRI interface's address.
    pub fn iri(&self) -> String {
        format!("http://{}/api/v2", self.address)
    }
}

impl Drop for Facility {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
