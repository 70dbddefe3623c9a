import { describe, expect, test } from 'vitest'
import { createAddressRules, isPublicAddress } from '../../src/upstream/address-rules.ts'

describe('an address is public', () => {
  const addresses = [
    ['8.8.8.8', '1.1.1.1', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.0', '168.63.129.15'],
    ['168.63.129.17', '169.253.255.255', '169.255.0.0', '172.15.255.255', '172.32.0.0', '191.255.255.255', '192.0.1.0', '192.167.255.255'],
    ['192.169.0.0', '198.17.255.255', '198.20.0.0', '223.255.255.255', '2606:4700:4700::1111', '2001:4860:4860::8888', '2a00:1450:4001::1'],
    ['2001:200::1', '2003::1', '3ffd:ffff::1', '3fff:1000::1']
  ].flat()
  test.each(addresses)('%s', (address) => {
    expect(isPublicAddress(address)).toBe(true)
  })
})

describe('an address is not public', () => {
  const addresses = {
    'this network': ['0.0.0.0', '0.1.2.3', '0.255.255.255'],
    private: ['10.0.0.0', '10.255.255.255', '172.16.0.0', '172.31.255.255', '192.168.0.0', '192.168.255.255'],
    shared: ['100.64.0.0', '100.100.100.200', '100.127.255.255'],
    loopback: ['127.0.0.1', '127.0.0.2', '127.255.255.255', '::1'],
    'link-local': ['169.254.0.0', '169.254.169.254', '169.254.170.2', '169.254.255.255', 'fe80::1', 'fe80::1%eth0', 'febf::1'],
    'of a cloud platform': ['168.63.129.16', '192.0.0.192', 'fd00:ec2::254', 'fd20:ce::254'],
    'protocol assignment': ['192.0.0.0', '192.0.0.255', '2001::1', '2001:1ff::1', '2001:2::1', '2001:10::1', '2001:20::1', '2001:30::1'],
    documentation: ['192.0.2.1', '198.51.100.1', '203.0.113.255', '2001:db8::1', '2001:db8:ffff::1', '3fff::1', '3fff:fff::1'],
    'former 6to4 relay': ['192.88.99.0', '192.88.99.255'],
    'AS112 and AMT': ['192.31.196.1', '192.52.193.1', '192.175.48.1', '2001:3::1', '2001:4:112::1', '2620:4f:8000::1'],
    benchmarking: ['198.18.0.0', '198.19.255.255'],
    multicast: ['224.0.0.1', '239.255.255.255', 'ff02::1', 'ff0e::1'],
    'reserved and broadcast': ['240.0.0.0', '255.255.255.254', '255.255.255.255'],
    unspecified: ['::'],
    'IPv4-mapped': ['::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:8.8.8.8', '::ffff:0:0'],
    'IPv4-compatible': ['::127.0.0.1', '::7f00:1', '::808:808'],
    'IPv4-translated': ['::ffff:0:127.0.0.1', '::ffff:0:808:808'],
    NAT64: ['64:ff9b::7f00:1', '64:ff9b::808:808', '64:ff9b:1::1', '64:ff9b:1:ffff::a00:1'],
    '6to4': ['2002::1', '2002:7f00:1::', '2002:a00:1::1', '2002:ffff:ffff::'],
    Teredo: ['2001::', '2001:0:7f00:1::', '2001:0:ffff:ffff:ffff:ffff:ffff:ffff'],
    ISATAP: ['2606:4700::5efe:7f00:1', '2606:4700::200:5efe:a00:1'],
    'unique local': ['fc00::1', 'fd00::1', 'fdff:ffff::1'],
    'site-local': ['fec0::1', 'feff::1'],
    discard: ['100::1', '100:0:0:1::1'],
    'segment routing': ['5f00::1', '5f00:ffff::1'],
    '6bone': ['3ffe::1'],
    'not given out': ['1::1', '1fff:ffff::1', '4000::1', '8000::1', 'c000::1', 'e000::1', 'fbff::1'],
    'no address': ['', 'localhost', '127.1', '0x7f000001', '2130706433', '010.0.0.1', '8.8.8.8 ', '[::1]', '8.8.8.8:80']
  }
  describe.each(Object.entries(addresses))('because it is %s', (_, members) => {
    test.each(members)('%j', (address) => {
      expect(isPublicAddress(address)).toBe(false)
    })
  })
})

describe('an allow list', () => {
  const rules = createAddressRules([
    '10.1.2.0/24:443',
    '10.1.2.3:8080',
    '[fd00::1]:443',
    '[fd12::/16]:9000',
    'Host.Example:8443',
    '0.0.0.0/0:7777'
  ])

  test('allows the addresses of a network on its port only', () => {
    expect(rules.allowsAddress('10.1.2.0', 443)).toBe(true)
    expect(rules.allowsAddress('10.1.2.255', 443)).toBe(true)
    expect(rules.allowsAddress('10.1.3.0', 443)).toBe(false)
    expect(rules.allowsAddress('10.1.2.0', 80)).toBe(false)
  })

  test('allows one address on its port only', () => {
    expect(rules.allowsAddress('10.1.2.3', 8080)).toBe(true)
    expect(rules.allowsAddress('10.1.2.4', 8080)).toBe(false)
    expect(rules.allowsAddress('fd00::1', 443)).toBe(true)
    expect(rules.allowsAddress('fd00::2', 443)).toBe(false)
    expect(rules.allowsAddress('fd12:ffff::1', 9000)).toBe(true)
    expect(rules.allowsAddress('fd13::1', 9000)).toBe(false)
  })

  test('does not take an IPv6 address for the IPv4 address in it', () => {
    expect(rules.allowsAddress('::ffff:10.1.2.3', 8080)).toBe(false)
    expect(rules.allowsAddress('::', 7777)).toBe(false)
    expect(rules.allowsAddress('203.0.113.1', 7777)).toBe(true)
  })

  test('allows a host by its name, in any case, on its port only', () => {
    expect(rules.allowsHost('host.example', 8443)).toBe(true)
    expect(rules.allowsHost('host.example', 443)).toBe(false)
    expect(rules.allowsHost('sub.host.example', 8443)).toBe(false)
    expect(rules.allowsAddress('10.9.9.9', 8443)).toBe(false)
  })

  test('knows which ports it names', () => {
    expect([443, 8080, 8443, 9000, 7777, 80].map(rules.namesPort)).toEqual([true, true, true, true, true, false])
  })

  test('that is empty allows nothing', () => {
    const none = createAddressRules([])
    expect([none.namesPort(443), none.allowsAddress('10.0.0.1', 443), none.allowsHost('host.example', 443)]).toEqual([false, false, false])
  })
})

describe('an allow entry is refused by name', () => {
  const form = 'it must be an address, a network or a host name, then a colon and a port'
  const brackets = 'IPv6 addresses, and only they, stand in square brackets'
  const neither = 'that is neither an address nor a host name'
  test.each([
    ['', form],
    ['10.1.2.3', form],
    ['host.example', form],
    ['10.1.2.3:', form],
    ['10.1.2.3:0', form],
    ['10.1.2.3:65536', form],
    ['10.1.2.3:443 ', form],
    ['10.1.2.3:-1', form],
    ['fd00::1:443', form],
    ['[fd00::1]', form],
    ['[fd00::1:443', form],
    ['[fd00::]/8:443', form],
    ['https://host.example:443', form],
    ['[10.1.2.3]:443', brackets],
    [':443', neither],
    ['[]:443', neither],
    ['[host.example]:443', neither],
    ['*.example:443', neither],
    ['host..example:443', neither],
    ['-host.example:443', neither],
    ['host.example.:443', neither],
    ['127.1:443', neither],
    ['0x7f000001:443', neither],
    ['2130706433:443', neither],
    ['010.0.0.1:443', neither],
    ['10.1.2.256:443', neither],
    ['host.example/path:443', neither],
    ['[fe80::1%eth0]:443', neither],
    ['10.1.2.0/33:443', 'the network size must be a number of bits from 0 to 32'],
    ['10.1.2.0/:443', 'the network size must be a number of bits from 0 to 32'],
    ['10.1.2.0/255.255.255.0:443', 'the network size must be a number of bits from 0 to 32'],
    ['[fd00::/129]:443', 'the network size must be a number of bits from 0 to 128'],
    ['10.1.2.3/24:443', 'the network of that size begins at 10.1.2.0'],
    ['[fd00::1/8]:443', 'the network of that size begins at fd00::']
  ])('%j', (entry, problem) => {
    expect(() => createAddressRules(['10.0.0.0/8:443', entry])).toThrow(
      new RangeError(`'${entry}' is not a target that can be allowed: ${problem}`)
    )
  })
})
