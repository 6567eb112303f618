//! What an operator or the way to it said no with, in words that lead to the fix.

use std::error::Error;

use pathsteer_crds::api::Problem;

/// A problem document as text: its detail (the title only repeats the status), then one line for each thing that was
/// wrong.
pub fn text(problem: &Problem) -> String {
    let mut text = if problem.detail.is_empty() { problem.title.clone() } else { problem.detail.clone() };
    for error in &problem.errors {
        let parts = [&error.object, &error.field, &error.message];
        let parts: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        text.push_str(&format!("\n  {}", parts.join(": ")));
    }
    text
}

/// An error with everything below it, each said once.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(&format!(": {more}"));
        }
        below = error.source();
    }
    text
}

/// What to do about a certificate of the operator that we do not accept.
pub fn tls_fix(error: &std::io::Error) -> &'static str {
    use rustls::CertificateError as Bad;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature)) => {
            " (the operator's certificate is not from the authority in --ca: use the operator's pki/ca.crt)"
        }
        Some(rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
            " (the operator goes by another name: use that in --server, or start it with --server-name)"
        }
        Some(rustls::Error::InvalidCertificate(
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. },
        )) => " (is the clock of this machine right?)",
        Some(rustls::Error::AlertReceived(_)) => CLIENT_CERTIFICATE_FIX,
        _ => "",
    }
}

/// With TLS 1.3 a refused client certificate shows only when the first answer is awaited, and then sometimes only as a
/// closed connection.
pub fn broken_fix(before_any_answer: bool) -> &'static str {
    if before_any_answer { CLIENT_CERTIFICATE_FIX } else { "" }
}

const CLIENT_CERTIFICATE_FIX: &str =
    " (is your certificate in --cert from this operator? `pathsteer-operator issue user` makes one)";

#[cfg(test)]
mod tests {
    use pathsteer_crds::api::ProblemItem;

    use super::*;

    #[test]
    fn a_problem_is_its_detail_and_a_line_for_each_error() {
        let mut problem =
            Problem { title: "Conflict".into(), detail: "nothing was written".into(), ..Problem::default() };
        assert_eq!(text(&problem), "nothing was written");
        problem.errors.push(ProblemItem {
            object: "Uplink rv-07/fiber".into(),
            field: "spec.slot".into(),
            message: "9 is out of range".into(),
        });
        problem.errors.push(ProblemItem { message: "too many".into(), ..ProblemItem::default() });
        assert_eq!(
            text(&problem),
            "nothing was written\n  Uplink rv-07/fiber: spec.slot: 9 is out of range\n  too many"
        );
        assert_eq!(text(&Problem { title: "Conflict".into(), ..Problem::default() }), "Conflict");
    }

    #[test]
    fn a_certificate_of_another_authority_leads_to_the_ca_file() {
        let error = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(tls_fix(&std::io::Error::other(error)).contains("--ca"));
    }
}
