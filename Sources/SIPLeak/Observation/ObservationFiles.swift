import HostNetwork
import FoundationEssentials
import Addressing
import Conntrack
import Firewall
public import SystemPackage

/// An observation as a folder of files: `sipleak observe --save DIR` writes it and `--from DIR`
/// reads it, so that an answer can be had again elsewhere.
///
/// The firewall is kept as the tools printed it; everything else is JSON. `flows.jsonl` holds one
/// flow a line. With two samples the earlier one is in the folder `earlier`.
public enum ObservationFiles {
  static let schema = "sipleak.observation"
  static let version = 1

  /// The part of an observation that is neither flows nor firewall text.
  struct Header: Codable {
    var schema: String
    var version: Int
    var host: HostIdentity
    var endpoints: SIPEndpoints
    var network: NetworkFacts
    var settings: ConntrackSettings
    var expectations: [Expectation]
    var problems: [String]
    /// Not in folders of earlier versions.
    var blindSpots: [BlindSpot]?
    var reloadScripts: [FlushingLine]?
  }

  /// The part of a sample that is neither flows nor firewall text.
  struct SampleHeader: Codable {
    var time: Double
    /// Not in folders of earlier versions.
    var uptime: Double?
    var flowCount: Int
    /// How the flow table was read; folders that older versions wrote don't say.
    var reading: FlowDump.Account?
    /// The firewall's files with their sizes in bytes: a save cut within its first comment would
    /// else read as an empty firewall.
    var files: [String: Int]
  }

  /// Writes an observation into a folder, which is made if need be.
  ///
  /// - Parameters:
  ///   - observation: What to save.
  ///   - folder: Where; files of the same names are replaced.
  /// - Throws: ``SIPLeakError`` when something cannot be written.
  public static func save(_ observation: Observation, to folder: FilePath) throws(SIPLeakError) {
    do {
      try FileManager.default.createDirectory(
        atPath: folder.string, withIntermediateDirectories: true)
      let header = Header(
        schema: schema, version: version, host: observation.host,
        endpoints: observation.endpoints, network: observation.network,
        settings: observation.settings, expectations: observation.expectations,
        problems: observation.problems,
        blindSpots: observation.blindSpots.isEmpty ? nil : observation.blindSpots,
        reloadScripts: observation.reloadScripts)
      try write(try encoder().encode(header), folder.appending("observation.json"))
      try save(observation.sample, to: folder)
      if let earlier = observation.earlier {
        let inner = folder.appending("earlier")
        try FileManager.default.createDirectory(
          atPath: inner.string, withIntermediateDirectories: true)
        try save(earlier, to: inner)
      } else {
        // A folder saved before with two samples must not lend its old one to the new.
        let old = folder.appending("earlier/sample.json").string
        if FileManager.default.fileExists(atPath: old) {
          try FileManager.default.removeItem(atPath: old)
        }
      }
    } catch {
      throw SIPLeakError(
        .unreadable, "cannot write the observation to \(folder)",
        advice: "Is the folder writable, and the disk not full?", detail: "\(error)")
    }
  }

  private static func save(_ sample: Observation.Sample, to folder: FilePath) throws {
    var lines = Data()
    let encoder = encoder()
    for flow in sample.flows {
      lines.append(try encoder.encode(flow))
      lines.append(0x0a)
    }
    try write(lines, folder.appending("flows.jsonl"))
    for (name, bytes) in sample.firewall.files { try write(Data(bytes), folder.appending(name)) }
    let header = SampleHeader(
      time: sample.time, uptime: sample.uptime, flowCount: sample.flows.count,
      reading: sample.reading,
      files: sample.firewall.files.mapValues(\.count))
    // Last: a folder without it is known to be cut short.
    try write(try encoder.encode(header), folder.appending("sample.json"))
  }

  private static func write(_ data: Data, _ path: FilePath) throws {
    try data.write(to: URL(filePath: path.string))
  }

  private static func encoder() -> JSONEncoder {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return encoder
  }

  /// Reads an observation from a folder.
  ///
  /// - Parameter folder: A folder that `observe --save` wrote.
  /// - Returns: The observation as it was.
  /// - Throws: ``SIPLeakError`` that names the file, and the line where there is one.
  public static func load(_ folder: FilePath) throws(SIPLeakError) -> Observation {
    let header: Header = try decode(
      try read(folder.appending("observation.json")), folder.appending("observation.json"))
    guard header.schema == schema, header.version == version else {
      throw bad(
        folder.appending("observation.json"), nil,
        "expected schema \(schema) version \(version), found \(header.schema) version "
          + "\(header.version)")
    }
    var sample = try loadSample(folder)
    sample.firewall.snapshot.localAddresses = header.network.addresses.map(\.address)
    sample.firewall.snapshot.interfaceAddresses = header.network.addressesByInterface
    sample.firewall.snapshot.time = sample.wholeSeconds
    let inner = folder.appending("earlier")
    let hasEarlier = FileManager.default.fileExists(atPath: inner.appending("sample.json").string)
    var observation = Observation(
      host: header.host, endpoints: header.endpoints, network: header.network,
      settings: header.settings, expectations: header.expectations, sample: sample,
      earlier: hasEarlier ? try loadSample(inner) : nil, problems: header.problems,
      blindSpots: header.blindSpots ?? [])
    observation.reloadScripts = header.reloadScripts
    return observation
  }

  private static func loadSample(_ folder: FilePath) throws(SIPLeakError) -> Observation.Sample {
    let path = folder.appending("sample.json")
    let header: SampleHeader = try decode(try read(path), path)
    guard Observation.Sample.times.contains(header.time) else {
      throw bad(path, nil, "time: expected seconds since 1970, up to the year 9999")
    }
    guard header.uptime.map(Observation.Sample.uptimes.contains) ?? true else {
      throw bad(path, nil, "uptime: expected seconds since the host began")
    }
    let flowsPath = folder.appending("flows.jsonl")
    var flows: [Flow] = []
    let lines = try read(flowsPath).split(separator: 0x0a)
    for (index, line) in lines.enumerated() {
      flows.append(try decode(Data(line), flowsPath, line: index + 1))
    }
    guard flows.count == header.flowCount else {
      throw bad(flowsPath, nil, "expected \(header.flowCount) flows, found \(flows.count)")
    }
    var files: [String: [UInt8]] = [:]
    for (name, size) in header.files {
      // The list comes from a file; it may name files of this folder only.
      guard !name.contains("/"), name != ".", name != ".." else {
        throw bad(path, nil, "a file name without slashes was expected")
      }
      let bytes = Array(try read(folder.appending(name)))
      guard bytes.count == size else {
        throw bad(
          folder.appending(name), nil, "expected \(size) bytes, found \(bytes.count): cut short")
      }
      files[name] = bytes
    }
    let reading: FirewallReading
    do throws(FirewallError) {
      reading = try FirewallHost.reading(files: files)
    } catch {
      throw SIPLeakError(
        .badFile, "\(folder): \(error)", advice: error.advice ?? "")
    }
    var sample = Observation.Sample(
      time: header.time, flows: flows, firewall: reading, reading: header.reading)
    sample.uptime = header.uptime
    return sample
  }

  private static func read(_ path: FilePath) throws(SIPLeakError) -> Data {
    do { return try Data(contentsOf: URL(filePath: path.string)) } catch {
      throw SIPLeakError(
        .badFile, "cannot read \(path)",
        advice: "Give a folder that `sipleak observe --save DIR` wrote.", detail: "\(error)")
    }
  }

  private static func decode<T: Decodable>(
    _ data: Data, _ path: FilePath, line: Int? = nil
  ) throws(SIPLeakError) -> T {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    do { return try decoder.decode(T.self, from: data) } catch {
      throw bad(path, line, Self.words(error), detail: "\(error)")
    }
  }

  private static func words(_ error: any Error) -> String {
    guard let error = error as? DecodingError else { return "not JSON as expected" }
    func place(_ context: DecodingError.Context) -> String {
      context.codingPath.map(\.stringValue).joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, let context):
      return "\(key.stringValue) is missing in \(place(context))"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
      return "\(place(context)): \(context.debugDescription)"
    case .dataCorrupted(let context):
      // What is no JSON at all has no place within it.
      let prefix = context.codingPath.isEmpty ? "" : "\(place(context)): "
      return prefix + context.debugDescription
    @unknown default: return "not JSON as expected"
    }
  }

  private static func bad(
    _ path: FilePath, _ line: Int?, _ text: String, detail: String = ""
  ) -> SIPLeakError {
    SIPLeakError(
      .badFile, "\(path)\(line.map { ":\($0)" } ?? ""): \(text)",
      advice: "The folder was cut short or changed; save it again.", detail: detail)
  }
}
