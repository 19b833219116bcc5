// swift-tools-version: 6.3
import PackageDescription

// Apart from the main package: an executable whose `main` is libFuzzer's links only with
// `--sanitize=fuzzer`, so a plain `swift build` must not meet it.
let package = Package(
  name: "Fuzz",
  dependencies: [.package(name: "sipleak", path: "..")],
  targets: [
    .executableTarget(
      name: "fuzz-rules", dependencies: [.product(name: "Firewall", package: "sipleak")]),
    .executableTarget(
      name: "fuzz-sets", dependencies: [.product(name: "Firewall", package: "sipleak")]),
    .executableTarget(
      name: "fuzz-flows", dependencies: [.product(name: "Conntrack", package: "sipleak")]),
    .executableTarget(
      name: "fuzz-tables", dependencies: [.product(name: "Conntrack", package: "sipleak")]),
    .executableTarget(
      name: "fuzz-sip", dependencies: [.product(name: "SIP", package: "sipleak")]),
  ],
  swiftLanguageModes: [.v6]
)
