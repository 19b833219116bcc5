public import Addressing
import FoundationEssentials
public import HostNetwork
public import SystemPackage

/// Everything an operator may say about who belongs, before any of it is looked up.
public struct TrustSources: Sendable {
  /// Prefixes that belong.
  public var trusted: [IPPrefix] = []
  /// Prefixes that are never blocked.
  public var protected: [IPPrefix] = []
  /// Trunks, by name or address.
  public var trunks: [TrunkName] = []
  /// Files that list who belongs.
  public var files: [FilePath] = []
  /// Commands that print who belongs.
  public var commands: [TrustCommand] = []
  /// Interfaces whose links are inside.
  public var inside: [String] = []
  /// Whether lists may hold prefixes wider than /8, or /32 for IPv6.
  public var allowsWide = false

  /// Nothing said.
  public init() {}

  /// Looks everything up: files are read, commands run, names asked for.
  ///
  /// What a command or a name server did not say becomes a gap of the policy; a file that is wrong is
  /// an error.
  ///
  /// - Parameters:
  ///   - state: The folder that remembers the names' last answers; `nil`: nothing is remembered.
  ///   - client: Which name servers are asked.
  /// - Returns: The policy.
  /// - Throws: ``SIPLeakError`` with the code `badFile`, for a file, with line and column.
  public func policy(
    state: FilePath?, client: DNSClient = DNSClient()
  ) async throws(SIPLeakError) -> AuditPolicy {
    var sources = trusted.map { ProtectedSource($0, .trusted) }
    sources += protected.map { ProtectedSource($0, .protected) }
    var gaps: [TrustGap] = []
    var names = trunks.map {
      Named(name: $0, reason: .trunk, subject: "--trunk \($0)", origin: $0.description)
    }
    func take(_ list: TrustList, _ subject: String, stopsEverything: Bool) {
      for entry in list.entries {
        let origin = "\(subject):\(entry.line)"
        switch entry.subject {
        case .prefix(let prefix):
          sources.append(
            ProtectedSource(prefix, entry.isContact ? .contact : .trusted, origin: origin))
        case .name(let name):
          names.append(
            Named(
              name: name, reason: entry.isContact ? .contact : .trusted,
              subject: "\(origin): \(name)", origin: "\(origin): \(name)"))
        }
      }
      if let line = list.cutOff.first {
        gaps.append(
          TrustGap(
            "\(subject):\(line)", "the contact's address is cut off by the table's width",
            stopsEverything: stopsEverything))
      }
    }
    for file in files { take(try Self.read(file, allowsWide), file.string, stopsEverything: true) }
    for command in commands {
      let subject = "--trust-command \(command.words[0])"
      switch await command.run() {
      case .failure(let failure):
        gaps.append(TrustGap(subject, failure.why, stopsEverything: true))
      case .success(let bytes):
        do throws(TrustList.Problem) {
          let list = try TrustList(bytes, allowsWide: allowsWide)
          let isBlank = bytes.allSatisfy { [0x20, 0x09, 0x0a, 0x0d].contains($0) }
          if isBlank {
            gaps.append(TrustGap(subject, "it printed nothing", stopsEverything: true))
          }
          take(list, subject, stopsEverything: true)
        } catch {
          gaps.append(
            TrustGap(
              subject, "its output cannot be understood at \(error.description)",
              stopsEverything: true))
        }
      }
    }
    var notes: [String] = []
    if !names.isEmpty {
      resolve(names, state: state, client: client, &sources, &gaps, &notes)
    }
    return AuditPolicy(sources: sources, inside: inside, gaps: gaps, notes: notes)
  }

  /// A name with what it is for.
  private struct Named {
    var name: TrunkName
    var reason: ProtectedSource.Reason
    var subject: String
    var origin: String
  }

  private func resolve(
    _ names: [Named], state: FilePath?, client: DNSClient, _ sources: inout [ProtectedSource],
    _ gaps: inout [TrustGap], _ notes: inout [String]
  ) {
    let now = Date().timeIntervalSince1970
    let answers = TrunkResolution.live(Set(names.map(\.name)), client: client).answers
    var remembered = RememberedNames()
    var isReadable = state != nil
    if let state {
      do throws(SIPLeakError) { remembered = try RememberedNames.load(from: state) } catch {
        notes.append("\(error.message); \(error.advice)")
        isReadable = false
      }
    }
    let before = remembered
    for named in names {
      let answer = answers[named.name] ?? TrunkResolution.Answer(gap: "it was not asked for")
      var addresses = Set(answer.addresses)
      let key = named.name.description
      if let gap = answer.gap {
        if let old = before.names[key], !old.addresses.isEmpty {
          addresses.formUnion(old.addresses)
          notes.append(
            "\(named.subject): \(gap); its last answer is used, "
              + "\(Quantity.duration(max(0, now - old.time))) old")
        } else {
          gaps.append(TrustGap(named.subject, gap, stopsEverything: false))
        }
      } else if named.name.address == nil {
        remembered.names[key] = RememberedNames.Entry(time: now, addresses: answer.addresses)
      }
      sources += addresses.sorted().map {
        ProtectedSource(IPPrefix($0), named.reason, origin: named.origin)
      }
    }
    remembered.forget(at: now)
    guard let state, isReadable, remembered != before else { return }
    do throws(SIPLeakError) { try remembered.save(in: state) } catch {
      notes.append("\(error.message); \(error.advice)")
    }
  }

  private static func read(
    _ file: FilePath, _ allowsWide: Bool
  ) throws(SIPLeakError) -> TrustList {
    let bytes: [UInt8]
    do {
      let descriptor = try FileDescriptor.open(file, .readOnly, options: [.closeOnExec])
      bytes = try descriptor.closeAfter {
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65536)
        while all.count <= TrustList.largest {
          let count = try unsafe part.withUnsafeMutableBytes {
            try unsafe descriptor.read(into: $0)
          }
          if count == 0 { break }
          all += part[..<count]
        }
        return all
      }
    } catch {
      throw SIPLeakError(
        .badFile, "cannot read \(file): \(error)", advice: "--trust-file names it.")
    }
    guard bytes.count <= TrustList.largest else {
      throw SIPLeakError(
        .badFile, "\(file) has more than 1 MiB", advice: "--trust-file takes lists up to 1 MiB.")
    }
    do throws(TrustList.Problem) {
      return try TrustList(bytes, allowsWide: allowsWide)
    } catch {
      throw SIPLeakError(.badFile, "\(file):\(error.description)", advice: "Nothing was changed.")
    }
  }
}
