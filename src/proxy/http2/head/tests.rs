use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

const BACKEND: Address = Address::Inet(std::net::SocketAddr::new(CLIENT, 80));

fn asked(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Result<Head, Refusal> {
    let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let rule = ForwardFor { header: "X-Forwarded-For".into(), except: None, if_none: false };
    let rules = Rules { forward_for: Some(&rule), client: Some(CLIENT) };
    judge(request.body(()).unwrap().into_parts().0, rules)
}

fn asked_in_http1(uri: &str, fields: &[(&'static str, &str)]) -> Option<&'static str> {
    let mut request = Request::builder().uri(uri).header("host", "a");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let rules = Rules { forward_for: None, client: None };
    judge(request.body(()).unwrap().into_parts().0, rules).err().map(|refusal| refusal.why)
}

#[test]
fn http1_clients_are_read_as_strictly_as_by_our_own_engine() {
    for uri in ["/", "http://a/x"] {
        assert_eq!(asked_in_http1(uri, &[("transfer-encoding", "chunked")]), None, "{uri}");
    }
    for (uri, fields) in [
        ("a:80", &[][..]),
        ("/", &[("transfer-encoding", "gzip, chunked")]),
        ("/", &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
        ("/", &[("content-length", "5"), ("transfer-encoding", "chunked")]),
    ] {
        assert!(asked_in_http1(uri, fields).is_some(), "{uri} {fields:?}");
    }
}

fn lines(head: &Head) -> Vec<String> {
    let request = head.to_http1(&BACKEND, ((), false));
    let show =
        |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    request.headers().iter().map(show).collect()
}

#[test]
fn a_request_is_made_into_either_version() {
    let head = asked("GET", "http://a.example:80/x?y=1", &[("accept", "*/*")]).unwrap();
    assert_eq!(head.to_http1(&BACKEND, ((), false)).uri(), "/x?y=1");
    let expected = ["host: a.example:80", "accept: */*", "x-forwarded-for: 192.0.2.7"];
    assert_eq!(lines(&head), expected);
    let second = head.to_http2(&BACKEND).unwrap();
    assert_eq!(second.uri(), "http://a.example:80/x?y=1");
    assert!(!second.headers().contains_key(HOST));
}

#[test]
fn what_is_about_the_connection_stays_here() {
    let fields = [
        ("connection", "x-hop, content-length, close"),
        ("x-hop", "1"),
        ("keep-alive", "1"),
        ("proxy-connection", "1"),
        ("upgrade", "h2c"),
        ("http2-settings", "AA"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip, trailers"),
        ("expect", "100-continue"),
        ("content-length", "5"),
    ];
    let head = asked("POST", "http://a/", &fields).unwrap();
    assert!(head.expects);
    let kept = ["host: a", "content-length: 5", "x-forwarded-for: 192.0.2.7", "te: trailers"];
    assert_eq!(lines(&head), kept);
}

#[test]
fn cookie_crumbs_are_one_line_and_lengths_one_number() {
    let fields = [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("cookie", "c=3; d=4"),
        ("content-length", "007"),
        ("content-length", "7, 7"),
    ];
    let head = asked("PUT", "http://a/", &fields).unwrap();
    assert!(lines(&head).contains(&"cookie: a=1; b=2; c=3; d=4".to_owned()));
    assert!(lines(&head).contains(&"content-length: 7".to_owned()));
    assert_eq!(lines(&head).len(), 4);
}

#[test]
fn one_host_for_every_reader() {
    let host = |uri: &str, host: &str| {
        let head = asked("GET", uri, &[("host", host)])?;
        Ok::<_, Refusal>(head.host.to_str().unwrap().to_owned())
    };
    assert_eq!(host("http://a.example/", "A.example:80").unwrap(), "a.example");
    assert_eq!(host("/", "a").unwrap(), "a");
    assert_eq!(host("https://a/", "a:443").unwrap(), "a");
    assert_eq!(host("http://[::1]/", "[::1]:80").unwrap(), "[::1]");
    assert_eq!(host("https://a/", "a:80").unwrap_err().status, 400);
    assert_eq!(host("http://a/", "a:443").unwrap_err().status, 400);
    assert_eq!(asked("PRI", "/", &[("host", "a")]).unwrap_err().status, 400);
    assert_eq!(host("http://a/", "b").unwrap_err().status, 400);
    assert_eq!(host("http://u@a/", "a").unwrap_err().status, 400);
    assert_eq!(host("/", "a b").unwrap_err().status, 400);
    assert_eq!(host("/", "a/b").unwrap_err().status, 400);
    assert_eq!(asked("GET", "/", &[]).unwrap_err().status, 400);
    let two = [("host", "a"), ("host", "b")];
    assert_eq!(asked("GET", "/", &two).unwrap_err().status, 400);
}

#[test]
fn without_a_host_it_is_the_backends() {
    let request = Request::get("/x").version(Version::HTTP_10).body(()).unwrap();
    let rules = Rules { forward_for: None, client: Some(CLIENT) };
    let old = judge(request.into_parts().0, rules).unwrap();
    let empty = asked("GET", "/x", &[("host", "")]).unwrap();
    for head in [old, empty] {
        assert_eq!(head.to_http2(&BACKEND).unwrap().uri(), "http://192.0.2.7:80/x");
        let six: std::net::SocketAddr = "[::1]:81".parse().unwrap();
        let socket = Address::Unix(std::path::Path::new("/x").into());
        let all = [(BACKEND, "192.0.2.7:80"), (six.into(), "[::1]:81"), (socket, "localhost")];
        for (addr, host) in all {
            assert_eq!(head.to_http1(&addr, ((), false)).headers()[HOST], host);
        }
    }
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    let status = |method, uri, fields: &[(&'static str, &str)]| {
        asked(method, uri, fields)
            .map(|head| head.path.to_string())
            .map_err(|refusal| refusal.status)
    };
    assert_eq!(status("CONNECT", "a:80", &[]), Err(405));
    assert_eq!(status("GET", "*", &[("host", "a")]), Err(400));
    assert_eq!(status("OPTIONS", "*", &[("host", "a")]), Ok("*".to_owned()));
    for length in ["+5", "", "5 5", "0x5", "5, 6", "99999999999999999999"] {
        let fields = [("content-length", length)];
        assert_eq!(status("POST", "http://a/", &fields), Err(400), "{length:?}");
    }
    assert_eq!(status("GET", "http://a/", &[("x", " padded")]), Err(400));
    assert_eq!(status("GET", "http://a/", &[("x", "padded\t")]), Err(400));
}

#[test]
fn heads_are_bounded_as_with_http1() {
    let many: Vec<(&'static str, &str)> = vec![("x", "1"); HEADERS];
    let size = |fields: &[(&'static str, &str)], path: usize| {
        let uri = format!("http://a/{}", "p".repeat(path));
        asked("GET", &uri, fields).map(drop).map_err(|refusal| refusal.status)
    };
    assert_eq!(size(&many, 0), Ok(()));
    let mut more = many.clone();
    more.push(("x", "1"));
    assert_eq!(size(&more, 0), Err(431));
    let long = "v".repeat(HEAD_BYTES - 2);
    assert_eq!(size(&[("x", &long)], 0), Ok(()));
    assert_eq!(size(&[("x", &long)], 1), Err(431));
    assert_eq!(size(&[], HEAD_BYTES), Err(414));
}

#[test]
fn forwardfor_is_appended_unless_told_otherwise() {
    let came = [("x-forwarded-for", "10.0.0.1")];
    let head = asked("GET", "http://a/", &came).unwrap();
    let all: Vec<_> = head.fields.get_all("x-forwarded-for").iter().collect();
    assert_eq!(all, ["10.0.0.1", "192.0.2.7"]);
}
