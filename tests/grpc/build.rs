//! Client and server of the service, from its description.

use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

fn main() {
    let method = |name: &str, route: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type("crate::service::Ask")
            .output_type("crate::service::Answer")
            .codec_path("tonic_prost::ProstCodec")
    };
    let done = MethodBuilder::build;
    let service = Service::builder()
        .name("Echo")
        .package("smartstack")
        .method(done(method("unary", "Unary")))
        .method(done(method("split", "Split").server_streaming()))
        .method(done(method("collect", "Collect").client_streaming()))
        .method(done(method("talk", "Talk").client_streaming().server_streaming()))
        .build();
    Builder::new().compile(&[service]);
}
