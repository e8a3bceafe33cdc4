//! A job as the IRI Facility API takes it: a specification in JSON whose program is a shell and whose argument is our script. JSON
//! quotes all; the facility quotes for its own scheduler. Pure.

use serde_json::{Map, Value, json};

use super::{Script, ScriptError, path};

impl Script<'_> {
    /// The specification of a job that runs `body`.
    pub(super) fn specification(&self, body: &str) -> Result<String, ScriptError> {
        let (name, folder, wishes) = (self.identity.name(), path(self.folder)?, &self.head.wishes);
        let output = format!("{folder}/{name}.out");
        let mut attributes = Map::from_iter([("duration".to_owned(), json!(self.seconds))]);
        let words = [
            ("queue_name", wishes.queue.as_ref()),
            ("account", wishes.account.as_ref()),
            ("reservation_id", self.reservation()),
        ];
        attributes.extend(words.into_iter().filter_map(|(key, word)| Some((key.to_owned(), json!(word?)))));
        // As PSI/J names what its own attributes lack.
        let custom = [("slurm.qos", self.qos()), ("slurm.constraint", wishes.constraint.as_ref())];
        let custom: Map<String, Value> =
            custom.into_iter().filter_map(|(key, word)| Some((key.to_owned(), json!(word?)))).collect();
        if !custom.is_empty() {
            attributes.insert("custom_attributes".to_owned(), custom.into());
        }
        let mut resources =
            json!({"node_count": self.nodes, "processes_per_node": 1, "exclusive_node_use": true});
        if let Some(cores) = wishes.cores {
            resources["cpu_cores_per_process"] = cores.into();
        }
        let spec = json!({
            "executable": "/bin/bash",
            "arguments": ["-c", body],
            "directory": folder,
            "name": name,
            "inherit_environment": true,
            "stdout_path": output,
            "stderr_path": output,
            "resources": resources,
            "attributes": attributes,
        });
        Ok(serde_json::to_string_pretty(&spec).expect("texts and numbers are JSON"))
    }
}
