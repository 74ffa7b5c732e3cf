//! Addresses of models: the directory that an address stands for, and the addresses that a browser refuses to fetch.

/// The host of the Hugging Face hub, and its other host names.
pub(crate) const HUB: &str = "https://huggingface.co";
const HUB_HOSTS: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];

/// First parts of hub paths that are not the name of a model's owner.
const NO_OWNERS: [&str; 9] =
    ["api", "blog", "collections", "datasets", "docs", "models", "organizations", "papers", "spaces"];

/// Files of a model directory whose address also stands for the directory.
const OTHER_FILES: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "README.md",
];

/// A model directory on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its address, with a slash at its end and without parameters.
    base: String,
    /// The parameters that every request has, from `?` on; empty where there are none.
    query: String,
    /// The name of the model.
    pub name: String,
    /// The weights file that the address names; `None` where it names none.
    pub weights: Option<String>,
}

impl Directory {
    /// The directory of an absolute URL. The URL may be the directory's own, that of a file in it, or that of a
    /// model's page on the hub.
    pub fn new(url: &str) -> Self {
        let url = url.split('#').next().unwrap_or_default();
        let (path, query) = url.find('?').map_or((url, ""), |start| url.split_at(start));
        let (path, query, hub_name) = match Hub::from_url(path) {
            Some(hub) => (hub.url(), if hub.is_page { "" } else { query }, Some(hub.name)),
            None => (path.to_owned(), query, None),
        };
        let (base, weights) = match path.rsplit_once('/') {
            Some((base, file)) if OTHER_FILES.contains(&file) || is_shard(file) => (base, None),
            Some((base, file)) if file.ends_with(".safetensors") || file.ends_with(".gguf") => {
                (base, Some(file.to_owned()))
            }
            _ => (path.trim_end_matches('/'), None),
        };
        let name = hub_name.unwrap_or_else(|| base.rsplit('/').next().unwrap_or("model").to_owned());
        Self { base: format!("{base}/"), query: query.to_owned(), name, weights }
    }

    /// The address of the file `name` in this directory.
    pub fn file(&self, name: &str) -> String {
        format!("{}{name}{}", self.base, self.query)
    }
}

/// A model on the hub.
struct Hub {
    name: String,
    /// `ORG/NAME/resolve/REVISION/...`
    path: String,
    /// Whether the address was that of a page, not of files.
    is_page: bool,
}

impl Hub {
    fn url(&self) -> String {
        format!("{HUB}/{}", self.path)
    }

    fn new(owner: &str, name: &str, revision: &str, inside: &[&str], is_page: bool) -> Self {
        let inside = inside.join("/");
        let path = format!("{owner}/{name}/resolve/{revision}/{inside}");
        Self { name: name.to_owned(), path, is_page }
    }

    /// Reads the address of a model's page, of a part of its tree, or of its files.
    fn from_url(url: &str) -> Option<Self> {
        let (_, rest) = url.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        if !HUB_HOSTS.contains(&host) {
            return None;
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let [owner, name, rest @ ..] = parts.as_slice() else { return None };
        if NO_OWNERS.contains(owner) {
            return None;
        }
        Some(match rest {
            [kind @ ("tree" | "blob" | "raw" | "resolve"), revision, inside @ ..] => {
                Self::new(owner, name, revision, inside, *kind != "resolve")
            }
            _ => Self::new(owner, name, "main", &[], true),
        })
    }
}

/// The address of the hub model that `text` names as `ORG/NAME` or `ORG/NAME@REVISION`, with or without `hf://` before
/// it.
pub fn on_hub(text: &str) -> Option<String> {
    let text = text.strip_prefix("hf://").unwrap_or(text).trim_end_matches('/');
    let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
    let (owner, name) = repository.split_once('/')?;
    let is_name = |part: &str| {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        part.chars().all(is_legal) && part.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let is_revision = !revision.is_empty() && !revision.contains(|c: char| c.is_whitespace() || "?#%".contains(c));
    let revision = revision.replace('/', "%2F");
    (is_name(owner) && is_name(name) && is_revision).then(|| Hub::new(owner, name, &revision, &[], true).url())
}

/// Whether a file's name is that of one shard of the weights: `model-00001-of-00003.safetensors`.
pub(crate) fn is_shard(file: &str) -> bool {
    let Some(stem) = file.strip_suffix(".safetensors") else { return false };
    let is_number = |part: &str| part.len() == 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    let number_of = |stem: &str| stem.rsplit_once('-').map(|(rest, number)| (rest.to_owned(), is_number(number)));
    let Some((rest, true)) = number_of(stem) else { return false };
    rest.strip_suffix("-of").and_then(number_of).is_some_and(|(_, is_number)| is_number)
}

/// Why a browser would refuse to fetch `url` from a page that was loaded over https (`page_is_secure`) or not; `None`
/// where it would fetch it.
pub fn obstacle(url: &str, page_is_secure: bool) -> Option<&'static str> {
    if without_password(url) != url {
        return Some(
            "browsers do not fetch an address that contains a name and a password; download the files and open them, \
             or use an address without a password",
        );
    }
    let host = url.strip_prefix("http://").map(|rest| rest.split(['/', ':', '?']).next().unwrap_or_default());
    let is_local = |host: &str| host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.");
    (page_is_secure && host.is_some_and(|host| !is_local(host))).then_some(
        "this page was loaded over https, and such a page cannot fetch over plain http; use an https address, or \
         download the files and open them",
    )
}

/// Whether `url` is on the site of `place`: only there an access token for `place` is sent.
pub fn is_within(url: &str, place: &str) -> bool {
    let site = |url: &str| -> Option<String> {
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Some(format!("{scheme}://{}", host.to_ascii_lowercase()))
    };
    site(url).is_some_and(|own| Some(own) == site(place))
}

/// `url` without a name and a password, so that it can be shown.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(url: &str) -> String {
        Directory::new(url).file("config.json")
    }

    #[test]
    fn an_address_may_name_the_directory_or_a_file_in_it() {
        for url in [
            "https://a.org/m",
            "https://a.org/m/",
            "https://a.org/m//",
            "https://a.org/m#text=x",
            "https://a.org/m/config.json",
            "https://a.org/m/tokenizer.json",
            "https://a.org/m/model.safetensors.index.json",
            "https://a.org/m/model-00002-of-00003.safetensors",
        ] {
            let directory = Directory::new(url);
            assert_eq!(directory.file("config.json"), "https://a.org/m/config.json", "{url}");
            assert_eq!((directory.name.as_str(), directory.weights), ("m", None), "{url}");
        }
        let directory = Directory::new("https://a.org/m/other.safetensors");
        assert_eq!(directory.weights.as_deref(), Some("other.safetensors"));
        assert_eq!(directory.file("config.json"), "https://a.org/m/config.json");
    }

    #[test]
    fn parameters_go_with_every_request() {
        assert_eq!(config_of("https://a.org/m/?k=1&x=%20"), "https://a.org/m/config.json?k=1&x=%20");
        let file = Directory::new("https://a.org/m/model.safetensors?sig=a/b");
        assert_eq!(file.file("model.safetensors"), "https://a.org/m/model.safetensors?sig=a/b");
        assert_eq!(file.file("tokenizer.json"), "https://a.org/m/tokenizer.json?sig=a/b");
    }

    #[test]
    fn a_page_of_the_hub_means_the_files_of_its_model() {
        let main = "https://huggingface.co/org/Name-8x7B_v0.1/resolve/main/config.json";
        for url in [
            "https://huggingface.co/org/Name-8x7B_v0.1",
            "https://huggingface.co/org/Name-8x7B_v0.1/",
            "https://hf.co/org/Name-8x7B_v0.1?library=transformers",
            "https://huggingface.co/org/Name-8x7B_v0.1/tree/main",
            "https://huggingface.co/org/Name-8x7B_v0.1/blob/main/config.json",
            "https://huggingface.co/org/Name-8x7B_v0.1/raw/main/config.json",
            "https://huggingface.co/org/Name-8x7B_v0.1/discussions",
        ] {
            assert_eq!(config_of(url), main, "{url}");
            assert_eq!(Directory::new(url).name, "Name-8x7B_v0.1", "{url}");
        }
        assert_eq!(
            config_of("https://huggingface.co/o/n/tree/refs%2Fpr%2F1/sub"),
            "https://huggingface.co/o/n/resolve/refs%2Fpr%2F1/sub/config.json"
        );
        assert_eq!(
            config_of("https://huggingface.co/o/n/resolve/v1/config.json?download=true"),
            "https://huggingface.co/o/n/resolve/v1/config.json?download=true"
        );
        let file = Directory::new("https://huggingface.co/o/n/blob/main/sub/a.safetensors");
        assert_eq!(file.weights.as_deref(), Some("a.safetensors"));
        // Addresses of other things on the hub.
        for url in ["https://huggingface.co/datasets/o/n", "https://huggingface.co/models", "https://a.org/o/n"] {
            assert_eq!(config_of(url), format!("{url}/config.json"));
        }
    }

    #[test]
    fn a_model_of_the_hub_may_be_named() {
        let address = |revision: &str| Some(format!("https://huggingface.co/org/name.1/resolve/{revision}/"));
        assert_eq!(on_hub("org/name.1"), address("main"));
        assert_eq!(on_hub("hf://org/name.1/"), address("main"));
        assert_eq!(on_hub("org/name.1@abc123"), address("abc123"));
        assert_eq!(on_hub("org/name.1@refs/pr/1"), address("refs%2Fpr%2F1"));
        for text in ["main", "a/b/c", "/a/b", "./a", "../a", "a/", "https://a.org", "a b/c", "a/b@", "a/b@x y", ""] {
            assert_eq!(on_hub(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_for_one_site() {
        let place = "https://huggingface.co/o/n/resolve/main/";
        assert!(is_within("https://huggingface.co/o/n/resolve/main/config.json", place));
        for url in [
            "http://huggingface.co/o/n/resolve/main/config.json",
            "https://huggingface.co.a.org/config.json",
            "https://huggingface.co:8443/config.json",
            "https://a.org/https://huggingface.co/",
            "blob:https://huggingface.co/1",
        ] {
            assert!(!is_within(url, place), "{url}");
        }
    }

    #[test]
    fn what_a_browser_does_not_fetch_is_explained() {
        let explained = |url: &str, secure: bool| obstacle(url, secure).unwrap_or_default();
        assert!(explained("https://user:pw@a.org/m", true).contains("password"));
        assert!(explained("http://a.org/m", true).contains("plain http"));
        for (url, secure) in [
            ("http://a.org/m", false),
            ("https://a.org/m", true),
            ("http://localhost:8080/m", true),
            ("http://127.0.0.1/m", true),
            ("https://a.org/@m", true),
        ] {
            assert_eq!(obstacle(url, secure), None, "{url}");
        }
        assert_eq!(without_password("https://user:p@ss@a.org/m?x=@"), "https://a.org/m?x=@");
    }
}
