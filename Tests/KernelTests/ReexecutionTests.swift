import Glibc
import Lab
import Subprocess
import SystemPackage
import Testing

extension Kernel {
  /// What `sipleak demo` stands on: a program that runs itself again in namespaces of its own.
  @Suite struct Reexecution {
    /// The executable beside the test bundle.
    private var program: FilePath {
      var buffer = [CChar](repeating: 0, count: 4096)
      let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count - 1)
      let path = String(
        decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return FilePath(path).removingLastComponent().appending("sipleak-lab")
    }

    /// The environment of a process that has never been in a lab.
    ///
    /// A folder in PATH that may not be read would make a missing program a forbidden one.
    private var outside: Environment {
      .inherit.updating(["SIPLEAK_LAB_OUTSIDE": nil, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"])
    }

    private func run(_ words: String...) async throws -> (status: TerminationStatus, output: String)
    {
      let result = try await Subprocess.run(
        .path(program), arguments: Arguments(["run", "--"] + words), environment: outside,
        output: .string(limit: 65536), error: .string(limit: 65536))
      return (result.terminationStatus, result.standardOutput)
    }

    @Test(
      "the copy runs on the pbx of a new lab, behind the reference ruleset, as process of its own")
    func runsInside() async throws {
      let result = try await run(
        "sh", "-c", "ip -br addr; iptables -S INPUT; readlink /proc/self/ns/net")
      #expect(result.status == .exited(0))
      #expect(result.output.contains("192.0.2.5"))
      #expect(result.output.contains("999 reject all other requests"))
      var status = stat()
      #expect(unsafe stat("/proc/self/ns/net", &status) == 0)
      #expect(!result.output.contains("net:[\(status.st_ino)]"))
    }

    @Test("the status of the copy is the status of the whole")
    func status() async throws {
      #expect(try await run("sh", "-c", "exit 7").status == .exited(7))
      #expect(try await run("sh", "-c", "kill -9 $$").status == .exited(137))
      #expect(try await run("no-such-program").status == .exited(127))
    }

    @Test(
      "a signal to the outer process ends everything inside, down to the background jobs",
      arguments: [SIGINT, SIGTERM, SIGHUP, SIGKILL])
    func signalEndsAll(signal: Int32) async throws {
      // A duration nobody else sleeps for tells our processes from all others.
      let mark = "\(Int.random(in: 1_000_000...9_999_999)).\(signal)"
      #expect(running(mark).isEmpty)
      let outcome = try await Subprocess.run(
        .path(program),
        arguments: ["run", "--", "sh", "-c", "(setsid sleep \(mark) &); exec sleep \(mark)"],
        environment: outside, input: .none, output: .discarded, error: .discarded
      ) { execution in
        #expect(await eventually { running(mark).count >= 2 })
        try execution.send(signal: Signal(rawValue: signal))
      }
      #expect(outcome.terminationStatus == .signaled(signal))
      #expect(await eventually { running(mark).isEmpty }, "left: \(running(mark))")
    }

    /// Processes named sleep whose command line has a word.
    private func running(_ mark: String) -> [String] {
      var found: [String] = []
      guard let directory = unsafe opendir("/proc") else { return ["unreadable /proc"] }
      defer { unsafe closedir(directory) }
      while let entry = unsafe readdir(directory) {
        let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
          unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        guard Int(name) != nil else { continue }
        let words = commandLine(of: name)
        if words.first == "sleep", words.contains(mark) { found.append(name) }
      }
      return found
    }

    private func commandLine(of process: String) -> [String] {
      let file = unsafe open("/proc/\(process)/cmdline", O_RDONLY | O_CLOEXEC)
      guard file >= 0 else { return [] }
      defer { close(file) }
      var bytes = [UInt8](repeating: 0, count: 4096)
      let count = unsafe read(file, &bytes, bytes.count)
      return bytes.prefix(max(count, 0)).split(separator: 0).map {
        String(decoding: $0, as: UTF8.self)
      }
    }

    @Test("a forbidden kind of namespace is named, with the setting that forbids it")
    func forbidden() async throws {
      let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \(program) run -- true"
      let result = try await Subprocess.run(
        .name("unshare"), arguments: ["--user", "--map-root-user", "--", "sh", "-c", script],
        environment: outside, output: .discarded, error: .string(limit: 65536))
      #expect(result.terminationStatus == .exited(1))
      #expect(result.standardError.contains("user.max_net_namespaces is 0"))
    }

    @Test("a missing tool is named, and that is not called a forbidden namespace")
    func missingTool() async throws {
      let script =
        "mount --bind /dev/null $(command -v ipset || echo /usr/sbin/ipset) && exec \(program) run -- true"
      let result = try await Subprocess.run(
        .name("unshare"), arguments: ["--mount", "--", "sh", "-c", script],
        environment: outside, output: .discarded, error: .string(limit: 65536))
      #expect(result.terminationStatus == .exited(1))
      #expect(result.standardError.contains("not installed: ipset"))
    }

    @Test("a forged marker in the environment proves nothing")
    func forgedMarker() async throws {
      // In a user namespace of its own but still in the network it came from.
      let result = try await Subprocess.run(
        .name("unshare"),
        arguments: [
          "--user", "--map-root-user", "--", "env", "SIPLEAK_LAB_OUTSIDE=1", "\(program)", "uas",
        ],
        environment: .inherit, output: .discarded, error: .string(limit: 65536))
      #expect(result.terminationStatus == .exited(1))
      #expect(result.standardError.contains("not proved"))
    }
  }
}
