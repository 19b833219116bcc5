import Conntrack

/// How the flow table was read, in the document of an audit.
struct ReadingJSON: Encodable {
  let reading: FlowDump.Account

  init(_ reading: FlowDump.Account) { self.reading = reading }

  enum Key: String, CodingKey {
    case entries, buckets, threads, together, readings, seconds, families
  }

  struct Family: Encodable {
    let family: FlowDump.Account.Family

    enum Key: String, CodingKey {
      case family, strategy, fallback, walks, walked, malformed, flows, seconds
    }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(family.family, forKey: .family)
      try object.encode(word, forKey: .strategy)
      try object.encode(family.isFallback, forKey: .fallback)
      try object.encode(family.walks, forKey: .walks)
      try object.encode(family.walked, forKey: .walked)
      try object.encode(family.malformed, forKey: .malformed)
      try object.encode(family.flows, forKey: .flows)
      try object.encode(family.seconds, forKey: .seconds)
    }

    private var word: String {
      switch family.strategy {
      case .everything: "everything"
      case .transports: "transports"
      case .portPlaces: "port-places"
      }
    }
  }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(reading.entries, forKey: .entries)
    try object.encode(reading.buckets, forKey: .buckets)
    try object.encode(reading.threads, forKey: .threads)
    try object.encode(reading.isTogether, forKey: .together)
    try object.encode(reading.readings, forKey: .readings)
    try object.encode(reading.seconds, forKey: .seconds)
    try object.encode(reading.families.map(Family.init), forKey: .families)
  }
}
