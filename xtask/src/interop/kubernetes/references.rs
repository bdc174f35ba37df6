//! What a schema cannot see: whether the labels, ports and times of different resources fit.

use serde_json::{Map, Value};

/// What does not fit, in words.
pub(super) fn check(resources: &[Value]) -> Vec<String> {
    let mut findings = Vec::new();
    for resource in resources {
        let complaints = match resource["kind"].as_str() {
            Some("Deployment" | "StatefulSet") => check_workload(resource, resources),
            Some("Service") => check_service(resource, resources),
            Some("PodDisruptionBudget") => check_budget(resource, resources),
            _ => Vec::new(),
        };
        let (kind, name) = (&resource["kind"], &resource["metadata"]["name"]);
        findings.extend(
            complaints
                .iter()
                .map(|what| format!("{kind} {name}: {what}")),
        );
    }
    findings
}

fn check_workload(workload: &Value, resources: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    let template = &workload["spec"]["template"];
    if !selects(&workload["spec"]["selector"]["matchLabels"], template) {
        complaints.push("its selector does not match its own pods".to_owned());
    }
    for spread in items(&template["spec"]["topologySpreadConstraints"]) {
        if !selects(&spread["labelSelector"]["matchLabels"], template) {
            complaints.push("it spreads other pods than its own".to_owned());
        }
    }
    let ports = port_names(template);
    for container in items(&template["spec"]["containers"]) {
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let port = ["httpGet", "tcpSocket"].map(|how| container[probe][how]["port"].as_str());
            for port in port.into_iter().flatten() {
                if !ports.contains(&port) {
                    complaints.push(format!("{probe} asks port `{port}`, which it has not"));
                }
            }
        }
        let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
        let grace = template["spec"]["terminationGracePeriodSeconds"].as_u64();
        if grace.unwrap_or(30) < pause.unwrap_or(0) + DRAIN_SECONDS {
            complaints.push("its grace period is shorter than preStop and drain".to_owned());
        }
    }
    for volume in items(&template["spec"]["volumes"]) {
        if let Some(map) = volume["configMap"]["name"].as_str()
            && !exists("ConfigMap", map, resources)
        {
            complaints.push(format!("it mounts ConfigMap `{map}`, which is not there"));
        }
    }
    if let Some(service) = workload["spec"]["serviceName"].as_str()
        && !exists("Service", service, resources)
    {
        complaints.push(format!("its Service `{service}` is not there"));
    }
    complaints
}

fn check_service(service: &Value, resources: &[Value]) -> Vec<String> {
    let Some(template) = template_of(&service["spec"]["selector"], resources) else {
        return vec!["it selects no pods".to_owned()];
    };
    let names = port_names(template);
    items(&service["spec"]["ports"])
        .filter_map(|port| port["targetPort"].as_str())
        .filter(|target| !names.contains(target))
        .map(|target| format!("its pods have no port `{target}`"))
        .collect()
}

fn check_budget(budget: &Value, resources: &[Value]) -> Vec<String> {
    match template_of(&budget["spec"]["selector"]["matchLabels"], resources) {
        Some(_) => Vec::new(),
        None => vec!["it selects no pods".to_owned()],
    }
}

/// The pod template that a selector selects.
fn template_of<'a>(selector: &Value, resources: &'a [Value]) -> Option<&'a Value> {
    let templates = resources
        .iter()
        .map(|resource| &resource["spec"]["template"]);
    templates
        .into_iter()
        .find(|template| selects(selector, template))
}

/// Whether pods made from the template have all these labels, and there are any to have.
fn selects(labels: &Value, template: &Value) -> bool {
    let no_labels = Map::new();
    let wanted = labels.as_object().unwrap_or(&no_labels);
    let has = &template["metadata"]["labels"];
    !wanted.is_empty() && wanted.iter().all(|(name, value)| &has[name] == value)
}

fn port_names(template: &Value) -> Vec<&str> {
    items(&template["spec"]["containers"])
        .flat_map(|container| items(&container["ports"]))
        .filter_map(|port| port["name"].as_str())
        .collect()
}

fn exists(kind: &str, name: &str, resources: &[Value]) -> bool {
    let mut of_kind = resources.iter().filter(|resource| resource["kind"] == kind);
    of_kind.any(|resource| resource["metadata"]["name"] == name)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The longest of what the programs take to end: 30 s of catamaran's drain, 24 s of the API.
const DRAIN_SECONDS: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload() -> Value {
        json!({
            "kind": "Deployment",
            "metadata": { "name": "web" },
            "spec": {
                "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": {
                        "terminationGracePeriodSeconds": 45,
                        "containers": [{
                            "ports": [{ "name": "http", "containerPort": 80 }],
                            "readinessProbe": { "httpGet": { "port": "http" } },
                            "lifecycle": { "preStop": { "sleep": { "seconds": 10 } } },
                        }],
                    },
                },
            },
        })
    }

    fn service(selector: &str, port: &str) -> Value {
        json!({
            "kind": "Service",
            "metadata": { "name": "web" },
            "spec": { "selector": { "app": selector }, "ports": [{ "targetPort": port }] },
        })
    }

    #[test]
    fn what_fits_has_no_findings() {
        assert!(check(&[workload(), service("web", "http")]).is_empty());
    }

    #[test]
    fn a_name_of_something_that_is_not_there_is_found() {
        assert_eq!(check(&[workload(), service("wep", "http")]).len(), 1);
        assert_eq!(check(&[workload(), service("web", "htpp")]).len(), 1);
        let mut wrong = workload();
        wrong["spec"]["selector"]["matchLabels"]["app"] = json!("wep");
        assert_eq!(check(&[wrong]).len(), 1);
        let mut wrong = workload();
        wrong["spec"]["template"]["spec"]["volumes"] = json!([{ "configMap": { "name": "x" } }]);
        assert_eq!(check(&[wrong]).len(), 1);
    }

    #[test]
    fn a_grace_period_shorter_than_the_drain_is_found() {
        let mut wrong = workload();
        wrong["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(35);
        let findings = check(&[wrong]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("grace period"), "{findings:?}");
    }
}
