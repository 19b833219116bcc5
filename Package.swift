// swift-tools-version: 6.3
import PackageDescription

// Every target: Swift 6 mode, complete concurrency checking, warnings are errors, memory-unsafe
// constructs marked. Upcoming features that will be the default are on already.
let house: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let systemPackage = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let sqlite = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")

let package = Package(
  name: "sipleak",
  products: [
    .executable(name: "sipleak", targets: ["sipleak"]),
    .executable(name: "sipleak-lab", targets: ["sipleak-lab"]),
    .library(name: "SIPLeak", targets: ["SIPLeak"]),
    .library(name: "Firewall", targets: ["Firewall"]),
    .library(name: "Conntrack", targets: ["Conntrack"]),
    .library(name: "SIP", targets: ["SIP"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(
      url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2", traits: []),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
  ],
  targets: [
    // The C fence: libmnl, libnetfilter_conntrack and the kernel's own headers.
    .systemLibrary(
      name: "CNetfilter", pkgConfig: "libnetfilter_conntrack",
      providers: [.apt(["libmnl-dev", "libnetfilter-conntrack-dev"])]),
    .target(name: "Addressing", swiftSettings: house),
    .target(
      name: "Netlink", dependencies: ["CNetfilter", systemPackage], swiftSettings: house),
    .target(
      name: "Conntrack", dependencies: ["CNetfilter", "Netlink", "Addressing", systemPackage],
      swiftSettings: house),
    .target(
      name: "HostNetwork", dependencies: ["Netlink", "Addressing", systemPackage],
      swiftSettings: house),
    .target(
      name: "Firewall", dependencies: ["Addressing", subprocess, systemPackage],
      swiftSettings: house),
    .target(name: "SIP", dependencies: ["Addressing"], swiftSettings: house),
    .target(
      name: "SIPLeak",
      dependencies: [
        "Addressing", "Netlink", "Conntrack", "HostNetwork", "Firewall", "SIP", systemPackage,
        subprocess, sqlite,
      ], swiftSettings: house),
    .executableTarget(
      name: "sipleak", dependencies: ["SIPLeak", "Conntrack", "Lab", argumentParser],
      swiftSettings: house),

    // Private namespaces with real hosts in them: tests, demo and benchmarks run there.
    .target(name: "CPrivateNamespaces"),
    .target(
      name: "Lab",
      dependencies: ["Addressing", "Netlink", "Conntrack", subprocess, systemPackage],
      swiftSettings: house),
    .executableTarget(
      name: "sipleak-lab", dependencies: ["Lab", "Addressing", argumentParser],
      swiftSettings: house),
    // `make bench-events`: sipleak watch beside conntrack -E under a load of new flows.
    .executableTarget(
      name: "sipleak-bench-events",
      dependencies: ["Lab", "Addressing", "Conntrack", argumentParser],
      path: "Benchmarks/sipleak-bench-events", swiftSettings: house),

    // `make bench`: what the peers take for the same answers, and the same walks in C.
    .executableTarget(
      name: "sipleak-floor", path: "Benchmarks/sipleak-floor",
      linkerSettings: [.linkedLibrary("mnl")]),
    .executableTarget(
      name: "sipleak-bench",
      dependencies: [
        "Lab", "Addressing", "Conntrack", "Netlink", systemPackage, argumentParser,
      ], path: "Benchmarks/sipleak-bench", swiftSettings: house),

    // Shared by the tests.
    .target(
      name: "TestSupport", dependencies: ["Addressing", "Firewall"], path: "Tests/TestSupport",
      swiftSettings: house),
    .testTarget(
      name: "AddressingTests", dependencies: ["TestSupport", "Addressing"], swiftSettings: house),
    .testTarget(
      name: "NetlinkTests", dependencies: ["TestSupport", "Netlink", systemPackage],
      swiftSettings: house),
    .testTarget(
      name: "ConntrackTests",
      dependencies: ["TestSupport", "Conntrack", "Netlink", "Addressing", systemPackage],
      swiftSettings: house),
    .testTarget(
      name: "HostNetworkTests",
      dependencies: ["TestSupport", "HostNetwork", "Netlink", "Addressing", systemPackage],
      swiftSettings: house),
    .testTarget(
      name: "FirewallTests",
      dependencies: ["TestSupport", "Firewall", "Addressing", systemPackage],
      swiftSettings: house),
    .testTarget(
      name: "SIPTests", dependencies: ["TestSupport", "SIP", "Addressing"],
      swiftSettings: house),
    .testTarget(
      name: "SIPLeakTests",
      dependencies: [
        "TestSupport", "SIPLeak", "Addressing", "Conntrack", "Firewall", "HostNetwork", "SIP",
        systemPackage,
      ], swiftSettings: house),
    // Links CPrivateNamespaces, whose constructor moves the whole test process into namespaces of
    // its own before any thread exists.
    .testTarget(
      name: "KernelTests",
      dependencies: [
        "TestSupport", "CPrivateNamespaces", "Lab", "SIPLeak", "Addressing", "Netlink", "Conntrack",
        "HostNetwork", "Firewall", "SIP", systemPackage, subprocess,
      ], swiftSettings: house),
  ],
  swiftLanguageModes: [.v6]
)
