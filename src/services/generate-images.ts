import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelSchema } from '../../gen/atelier/v1/model_pb.ts'
import type { Call } from '../call.ts'
import { wireName } from '../contract/wire-names.ts'
import type { Delivery } from '../delivery/deliver.ts'
import type { GenerationEvent } from '../events.ts'
import type { ConfiguredProvider } from '../routing/attempt.ts'
import type { Models } from '../routing/models.ts'
import { planGeneration } from '../routing/plan.ts'
import type { Runner } from '../tasks/runner.ts'

export interface GenerateImagesOptions {
  /** How long hosted images and their links last. */
  linkLifetimeSeconds: number
}

export interface GenerateImagesDeps {
  models: Models
  providers: ReadonlyMap<string, ConfiguredProvider>
  runner: Runner
  delivery: Delivery
}

/** Serves one request: resolve the model, plan, run, deliver in the wished form. */
export function createGenerateImages(options: GenerateImagesOptions, deps: GenerateImagesDeps) {
  return (request: GenerateImagesRequest, call: Call): AsyncIterable<GenerationEvent> => {
    const resolution = deps.models.resolve(writtenModel(request))
    const plan = planGeneration(request, resolution, (provider) => deps.providers.get(provider)?.backend.understands ?? [])
    const { provider } = plan.candidate
    return deps.delivery.deliver(
      deps.runner.run(plan, request.requestId, call),
      {
        form: plan.form,
        keepProviderUrls: plan.keepProviderUrls,
        output: plan.output,
        linkLifetimeSeconds: options.linkLifetimeSeconds,
        provider,
        trustedOrigins: deps.providers.get(provider)?.backend.trustedOrigins ?? []
      },
      call
    )
  }
}

/** The model as the caller wrote it; undefined where the request names none. */
export function writtenModel({ modelSelector }: GenerateImagesRequest): string | undefined {
  return modelSelector.case === 'model' ? wireName(ModelSchema, modelSelector.value) : modelSelector.value
}
