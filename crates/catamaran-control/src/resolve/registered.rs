//! Servers that registered in etcd, in the place of the entry that takes them.

use super::{Discovery, Entry};
use catamaran_core::fleet::Registration;
use catamaran_core::model::{Name, Server, ServerAddr};
use std::collections::HashMap;

/// The servers of each service, by their names.
pub type Registrations = HashMap<String, Vec<(String, Registration)>>;

impl Discovery {
    /// Puts the servers that registered in place. Backends whose servers are others now are told
    /// anew.
    pub(super) fn register(&mut self, registrations: Registrations) {
        for backend in &mut self.backends {
            for entry in &mut backend.entries {
                if entry.register(Some(&registrations)) {
                    backend.is_told = false;
                }
            }
        }
        self.registrations = Some(registrations);
    }
}

impl Entry {
    /// Takes the servers that registered, if they are known. Returns whether they are others.
    pub(super) fn register(&mut self, registrations: Option<&Registrations>) -> bool {
        let Self::Registered {
            template,
            service,
            servers,
        } = self
        else {
            return false;
        };
        let Some(registrations) = registrations else {
            return false;
        };
        let of_service = registrations.get(service).map_or(&[][..], Vec::as_slice);
        let of =
            |(name, registration): &(String, Registration)| server(template, name, registration);
        let is: Vec<Server> = of_service.iter().map(of).collect();
        let is_other = servers.as_ref() != Some(&is);
        *servers = Some(is);
        is_other
    }
}

/// The name that a registered server has in a backend.
pub(crate) fn server_name(template: &Name, name: &str) -> Name {
    Name::new(&format!("{template}#{name}"))
}

fn server(template: &Server, name: &str, registration: &Registration) -> Server {
    Server {
        name: server_name(&template.name, name),
        address: ServerAddr::Ip(registration.address),
        weight: registration.weight.unwrap_or(template.weight),
        ..template.clone()
    }
}
