//! What work runs in where its program is not on the nodes: shifter, podman-hpc or apptainer, each by its own command. Pure.

use super::quoted;

/// Whose container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// NERSC's shifter, with Slurm's `--image`.
    Shifter,
    /// NERSC's podman.
    PodmanHpc,
    /// apptainer, or singularity by its newer name.
    Apptainer,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Whose.
    pub engine: Engine,
    /// Its image: see [`is_image`].
    pub image: String,
    /// Folders of the node and where they are seen inside, as `/outside:/inside`.
    pub volumes: Vec<String>,
}

/// Whether a text can name an image: a word, with colons.
pub fn is_image(text: &str) -> bool {
    super::is_word(&text.replace(':', "_")) && !text.starts_with(':')
}

/// Whether a text says `/outside:/inside`.
pub fn is_volume(text: &str) -> bool {
    let is_path = |path: &str| path.starts_with('/') && super::is_word(path);
    text.split_once(':').is_some_and(|(outside, inside)| is_path(outside) && is_path(inside))
}

impl Container {
    /// The image as Slurm is told of it beforehand.
    pub(super) fn image_directive(&self) -> Option<&str> {
        (self.engine == Engine::Shifter).then_some(self.image.as_str())
    }

    /// What stands before a command that runs inside; `exported` are the variables that it finds there.
    pub(super) fn prefix(&self, exported: &[&str]) -> String {
        let image = quoted(&self.image);
        let with = |option: &str| -> String {
            let each = self.volumes.iter().map(|volume| format!("{option}{}", quoted(volume)));
            each.chain([String::new()]).collect::<Vec<_>>().join(" ")
        };
        match self.engine {
            Engine::Shifter => format!("shifter --image={image} {}", with("--volume=")),
            // Its environment is its own: each variable is named.
            Engine::PodmanHpc => {
                let named = exported.iter().map(|name| format!("--env={name} ")).collect::<Vec<_>>().concat();
                format!("podman-hpc run --rm {named}{}{image} ", with("--volume="))
            }
            Engine::Apptainer => format!("apptainer exec {}{image} ", with("--bind=")),
        }
    }
}
