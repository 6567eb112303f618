//! The API against its own description: schemathesis reads it, makes requests good and bad of every operation, and compares
//! each answer.

use std::path::{Path, PathBuf};
use std::process::Command;

use pathsteer_crds::api::Operation;
use serde_json::{Value, json};

use crate::objects;
use crate::rig::Rig;

/// No answer may be a failure of the server's, and none other than described.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,use_after_free,\
                      missing_required_header";
/// No node is connected, so of what only a node knows 503 is the right answer. After a dry run of a deletion the object is
/// found, which would count as used after it is gone.
const CONFIG: &str = r#"
[[operations]]
include-operation-id = "getNodeLog"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]

[[operations]]
include-method = "DELETE"
parameters = { "query.dryRun" = false }
"#;

#[test]
fn every_answer_is_as_described_whatever_is_asked() {
    let program = schemathesis();
    let rig = Rig::start();
    assert_eq!(rig.user().post("/v1/apply", objects::all()).0, 200);
    let identity = rig.identity("user", "fuzz");
    let files = [("fuzz.crt", &*identity.certificate), ("fuzz.key", &*identity.key), ("schemathesis.toml", CONFIG)];
    for (name, text) in files {
        std::fs::write(rig.path(name), text).unwrap();
    }
    let described = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/openapi.json");
    let output = Command::new(program)
        .current_dir(rig.data.path())
        .arg("run")
        .arg(described)
        .args(["--url", &format!("https://{}", rig.address), "--tls-verify", "pki/ca.crt"])
        .args(["--request-cert", "fuzz.crt", "--request-cert-key", "fuzz.key"])
        // A watch does not end; others look at those.
        .args(["--exclude-path-regex", "^/v1/watch/", "--checks", CHECKS])
        .args(["--max-examples", "20", "--continue-on-failure", "--no-color", "--warnings", "off"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "schemathesis found something: {}", String::from_utf8_lossy(&output.stderr));
    let tested = Operation::all().into_iter().filter(|operation| !operation.is_stream()).count();
    assert!(said.contains(&format!("Tested: {tested}")), "not every operation was attacked");
    assert_eq!(rig.user().get("/v1/readyz").0, 200, "it works on");
}

#[test]
fn the_description_that_is_served_is_the_one_that_is_published() {
    let rig = Rig::start();
    let (status, served) = rig.user().get("/v1/openapi.json");
    let published = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/openapi.json"));
    assert_eq!((status, served), (200, serde_json::from_str::<Value>(&published.unwrap()).unwrap()));
}

#[test]
fn the_example_of_every_operation_is_taken() {
    let rig = Rig::start();
    let user = rig.user();
    let description = user.get("/v1/openapi.json").1;
    let body = &description["paths"]["/v1/apply"]["post"]["requestBody"]["content"]["application/json"]["example"];
    let (status, answer) = user.post("/v1/apply", body.clone());
    assert_eq!(status, 200, "{answer}");
    for operation in Operation::all() {
        let Operation::Create(kind) = operation else { continue };
        let post = &description["paths"][operation.path()]["post"];
        let example = &post["requestBody"]["content"]["application/json"]["example"];
        let (status, answer) = user.post(&operation.path(), example.clone());
        assert_eq!((status, answer["status"].clone()), (409, json!(409)), "{kind} was made by the apply: {answer}");
    }
}

/// The program, installed from PyPI unless it is there.
fn schemathesis() -> PathBuf {
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operator/schemathesis.txt");
    let versions = std::fs::read_to_string(&wanted).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let (program, complete) = (folder.join("bin/schemathesis"), folder.join("complete"));
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == versions) {
        return program;
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--no-deps", "-r"]).arg(&wanted));
    std::fs::write(complete, versions).unwrap();
    program
}
