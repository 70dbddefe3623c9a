import { type DescEnum, type DescExtension, type DescFile, type DescMessage, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'

/** The requests that both versions of the reflection service know. */
interface ReflectionRequest {
  host: string
  messageRequest:
    | { case: 'fileByFilename' | 'fileContainingSymbol' | 'allExtensionNumbersOfType' | 'listServices'; value: string }
    | { case: 'fileContainingExtension'; value: { containingType: string; extensionNumber: number } }
    | { case: undefined; value?: undefined }
}

type ReflectionAnswer =
  | { case: 'fileDescriptorResponse'; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: 'allExtensionNumbersResponse'; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: 'listServicesResponse'; value: { service: { name: string }[] } }
  | { case: 'errorResponse'; value: { errorCode: number; errorMessage: string } }

/**
 * gRPC server reflection over the files given and all that they import. The method serves v1 and v1alpha alike, whose messages differ
 * in nothing but their package.
 */
export function createReflection(files: readonly DescFile[], services: readonly string[]) {
  const index = indexOf(files)
  // Serialized once, because anybody may ask for them.
  const answers = new Map([...index.files.values()].map((file) => [file, toBinary(FileDescriptorProtoSchema, file.proto)]))

  function fileAnswer(file: DescFile | undefined, problem: string): ReflectionAnswer {
    if (!file) return errorAnswer(Code.NotFound, problem)
    const fileDescriptorProto = withImports(file).flatMap((each) => answers.get(each) ?? [])
    return { case: 'fileDescriptorResponse', value: { fileDescriptorProto } }
  }

  function answer({ messageRequest: asked }: ReflectionRequest): ReflectionAnswer {
    switch (asked.case) {
      case 'listServices':
        return { case: 'listServicesResponse', value: { service: services.map((name) => ({ name })) } }
      case 'fileByFilename':
        return fileAnswer(index.files.get(asked.value), `there is no file ${asked.value}`)
      case 'fileContainingSymbol':
        return fileAnswer(index.symbols.get(asked.value.replace(/^\./, '')), `there is no symbol ${asked.value}`)
      case 'fileContainingExtension': {
        const { containingType: type, extensionNumber: number } = asked.value
        return fileAnswer(index.extensions.get(type)?.get(number)?.file, `there is no extension ${number} of ${type}`)
      }
      case 'allExtensionNumbersOfType': {
        const numbers = index.extensions.get(asked.value)
        if (!numbers && !index.symbols.has(asked.value)) return errorAnswer(Code.NotFound, `there is no message ${asked.value}`)
        return {
          case: 'allExtensionNumbersResponse',
          value: { baseTypeName: asked.value, extensionNumber: [...(numbers?.keys() ?? [])] }
        }
      }
      case undefined:
        return errorAnswer(Code.InvalidArgument, 'the request asks for nothing')
    }
  }

  return {
    async *serverReflectionInfo<Request extends ReflectionRequest>(requests: AsyncIterable<Request>) {
      for await (const request of requests) yield { validHost: request.host, originalRequest: request, messageResponse: answer(request) }
    }
  }
}

interface Index {
  files: Map<string, DescFile>
  symbols: Map<string, DescFile>
  /** By extended type, then by number. */
  extensions: Map<string, Map<number, DescExtension>>
}

function indexOf(roots: readonly DescFile[]): Index {
  const index: Index = { files: new Map(), symbols: new Map(), extensions: new Map() }
  const addExtension = (extension: DescExtension) => {
    index.symbols.set(extension.typeName, extension.file)
    const ofType = index.extensions.get(extension.extendee.typeName) ?? new Map<number, DescExtension>()
    index.extensions.set(extension.extendee.typeName, ofType.set(extension.number, extension))
  }
  const addEnum = (type: DescEnum) => {
    index.symbols.set(type.typeName, type.file)
    // Values are named in the scope around their enum.
    const scope = type.typeName.slice(0, type.typeName.lastIndexOf('.') + 1)
    for (const value of type.values) index.symbols.set(`${scope}${value.name}`, type.file)
  }
  const addMessage = (message: DescMessage) => {
    for (const name of [
      message.typeName,
      ...[...message.fields, ...message.oneofs].map((member) => `${message.typeName}.${member.name}`)
    ]) {
      index.symbols.set(name, message.file)
    }
    message.nestedEnums.forEach(addEnum)
    message.nestedMessages.forEach(addMessage)
    message.nestedExtensions.forEach(addExtension)
  }
  for (const file of roots.flatMap(withImports)) {
    if (index.files.has(file.proto.name)) continue
    index.files.set(file.proto.name, file)
    file.enums.forEach(addEnum)
    file.messages.forEach(addMessage)
    file.extensions.forEach(addExtension)
    for (const service of file.services) {
      index.symbols.set(service.typeName, file)
      for (const method of service.methods) index.symbols.set(`${service.typeName}.${method.name}`, file)
    }
  }
  return index
}

/** A file and everything that it imports, each file once and before those that it imports itself. */
function withImports(file: DescFile): DescFile[] {
  const seen = new Set<DescFile>()
  const leavesFirst: DescFile[] = []
  const visit = (each: DescFile) => {
    if (seen.has(each)) return
    seen.add(each)
    each.dependencies.forEach(visit)
    leavesFirst.push(each)
  }
  visit(file)
  return leavesFirst.reverse()
}

function errorAnswer(code: Code, problem: string): ReflectionAnswer {
  return { case: 'errorResponse', value: { errorCode: code, errorMessage: problem.slice(0, 300).toWellFormed() } }
}
