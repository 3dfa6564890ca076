// The streaming client of the founding document, verbatim: it must work unmodified.
class StreamingClient {
    private ws: WebSocket;
    
    async streamAgentResponse(
        request: AgentRequest,
        onDelta: (delta: string) => void,
        onComplete: (metadata: any) => void,
        onError: (error: Error) => void
    ): Promise<void> {
        this.ws = new WebSocket('ws://localhost:8000/api/v1/ws/agents');
        
        this.ws.onopen = () => {
            this.ws.send(JSON.stringify(request));
        };
        
        this.ws.onmessage = (event) => {
            const data = JSON.parse(event.data);
            
            switch (data.type) {
                case 'delta':
                    onDelta(data.content);
                    break;
                case 'complete':
                    onComplete(data.metadata);
                    this.ws.close();
                    break;
                case 'error':
                    onError(new Error(data.error));
                    this.ws.close();
                    break;
            }
        };
        
        this.ws.onerror = (error) => {
            onError(new Error('WebSocket error'));
        };
    }
}
